"""The names of session management in one place: `from sessile.sessions import SessionManager, SQLiteSessionStore`."""

from typing import TYPE_CHECKING, Any

from sessile.session import AsyncSession, Session
from sessile.session.managing.manager import AsyncSessionManager, SessionManager
from sessile.store.documents import SessionStore
from sessile.store.memory import MemorySessionStore

__all__ = ["AsyncSession", "AsyncSessionManager", "MemorySessionStore", "Session", "SessionManager", "SessionStore"]


if TYPE_CHECKING:
    from sessile_file import FileSessionStore as FileSessionStore
    from sessile_mongodb import MongoSessionStore as MongoSessionStore
    from sessile_postgres import PostgresSessionStore as PostgresSessionStore
    from sessile_redis import RedisSessionStore as RedisSessionStore
    from sessile_sqlite import SQLiteSessionStore as SQLiteSessionStore
else:

    def __getattr__(name: str) -> Any:
        import sessile

        return getattr(sessile, name)
