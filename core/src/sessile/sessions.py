"""The names of session management in one place: `from sessile.sessions import SessionManager, SQLiteSessionStore`."""

from typing import Any

from sessile.documents import SessionStore
from sessile.manager import SessionManager
from sessile.memory_store import MemorySessionStore
from sessile.session import AsyncSession, Session

__all__ = ["AsyncSession", "MemorySessionStore", "Session", "SessionManager", "SessionStore"]


def __getattr__(name: str) -> Any:
    import sessile

    return getattr(sessile, name)
