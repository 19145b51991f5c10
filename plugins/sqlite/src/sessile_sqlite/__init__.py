"""The SQLite store of sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["SQLiteSessionStore"]
if TYPE_CHECKING:
    from sessile_sqlite.store import SQLiteSessionStore as SQLiteSessionStore
else:
    __getattr__ = lazily(__name__, SQLiteSessionStore="store")
