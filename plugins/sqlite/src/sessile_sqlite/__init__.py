"""The SQLite store of sessile."""

from sessile_sqlite.store import SQLiteSessionStore

__all__ = ["SQLiteSessionStore"]
