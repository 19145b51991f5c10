"""Sessions: the two faces, and the store of whole conversations behind `get_default_session_store`."""

from typing import TYPE_CHECKING

from sessile.plugins.registry import lazily
from sessile.session.asynchronous import AsyncSession
from sessile.session.blocking import Session
from sessile.session.views import AsyncSessionView, SessionView

if TYPE_CHECKING:
    from sessile.session.managing.default import DefaultSessionStore as DefaultSessionStore
    from sessile.session.managing.default import get_default_session_store as get_default_session_store

AsyncSession._other, Session._other = SessionView, AsyncSessionView

__all__ = ["AsyncSession", "DefaultSessionStore", "Session", "get_default_session_store"]
if not TYPE_CHECKING:  # who opens a session needs no manager of all sessions
    __getattr__ = lazily(__name__, DefaultSessionStore="managing.default", get_default_session_store="managing.default")
