"""The PostgreSQL store: a commit is one statement, so one round trip. Schema in `schema.py`, the work in `engine.py`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from sessile.drive import run
from sessile.errors import InvalidInput
from sessile.native import Engine, NativeStore
from sessile.store import shown, url_options


class PostgresSessionStore(NativeStore):
    """Sessions in PostgreSQL 12 or later.

    url: `postgresql://user:password@host:port/database`, with libpq's parameters such as `?sslmode=verify-full`.
    table_name: several stores may share a database. pool_size: connections at most. timeout: seconds for every answer,
    and for connecting.

    A commit is on disk when it returns, unless the server is told otherwise (`synchronous_commit`).
    """

    def __init__(
        self,
        url: str = "postgresql://localhost/postgres",
        table_name: str = "sessions",
        *,
        pool_size: int = 20,
        timeout: float = 10.0,
    ) -> None:
        if urlsplit(url).scheme not in ("postgresql", "postgres"):
            raise InvalidInput(
                f"{shown(url)!r} is no address of a PostgreSQL: write postgresql://user:password@host:port/database"
            )
        if not re.fullmatch(r"[a-z_][a-z0-9_]{0,40}", table_name):
            raise InvalidInput(f"table_name {table_name!r} is no plain name: use small letters, digits and '_'")
        if pool_size < 1:
            raise InvalidInput(f"pool_size is {pool_size!r}: at least one connection is needed")
        super().__init__()
        self.url = url
        self.table = table_name
        self.pool_size = pool_size
        self.timeout = timeout

    @classmethod
    def from_url(cls, url: str) -> PostgresSessionStore:
        """The parameters may be in the URL: `?table_name=…&pool_size=…&timeout=…`; others are libpq's."""
        address, options = url_options(url, {"table_name": str, "pool_size": int, "timeout": float})
        return cls(address, **options)

    @staticmethod
    def usual_url(home: Any) -> str:
        """Where this store lies when nobody says where."""
        return "postgresql://localhost/postgres"

    def make_engine(self, asynchronous: bool) -> Engine:
        from sessile_postgres.engine import PostgresEngine

        return PostgresEngine(self, asynchronous)

    def migrate(self) -> tuple[int, int]:
        """Bring the tables to the newest schema; done by the first commit, too. Returns the versions (from, to)."""
        return run(self.engine(False).migrate())

    def __repr__(self) -> str:
        return f"PostgresSessionStore({shown(self.url)!r}, table_name={self.table!r})"
