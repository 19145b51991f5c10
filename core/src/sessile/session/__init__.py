"""Sessions: the two faces, and the store of whole conversations behind `get_default_session_store`."""

from sessile.session.asynchronous import AsyncSession
from sessile.session.blocking import Session
from sessile.session.default import DefaultSessionStore, get_default_session_store
from sessile.session.views import AsyncSessionView, SessionView

AsyncSession._other, Session._other = SessionView, AsyncSessionView

__all__ = ["AsyncSession", "DefaultSessionStore", "Session", "get_default_session_store"]
