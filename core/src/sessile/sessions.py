"""The names of session management in one place: `from sessile.sessions import SessionManager, SQLiteSessionStore`."""

from typing import Any

from sessile.session import AsyncSession, Session
from sessile.session.managing.manager import SessionManager
from sessile.store.documents import SessionStore
from sessile.store.memory import MemorySessionStore

__all__ = ["AsyncSession", "MemorySessionStore", "Session", "SessionManager", "SessionStore"]


def __getattr__(name: str) -> Any:
    import sessile

    return getattr(sessile, name)
