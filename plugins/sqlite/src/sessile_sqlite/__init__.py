"""The SQLite store of sessile."""

from sessile.plugins import lazily

__all__ = ["SQLiteSessionStore"]
__getattr__ = lazily(__name__, SQLiteSessionStore="store")
