"""The PostgreSQL store of sessile."""

from sessile.plugins import lazily

__all__ = ["PostgresSessionStore"]
__getattr__ = lazily(__name__, PostgresSessionStore="store")
