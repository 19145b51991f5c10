"""The PostgreSQL store of sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["PostgresSessionStore"]
if TYPE_CHECKING:
    from sessile_postgres.store import PostgresSessionStore as PostgresSessionStore
else:
    __getattr__ = lazily(__name__, PostgresSessionStore="store")
