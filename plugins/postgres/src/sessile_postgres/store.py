"""The PostgreSQL store: a commit is one statement, so one round trip. Schema in `schema.py`, the work in `engine.py`."""

from __future__ import annotations

import re
from typing import Any

from sessile.errors import InvalidInput
from sessile.store import Engine, NativeStore, SearchQuery, background, checked, run, shown, url_options

_TABLE_NAME = re.compile(r"(?!pg_|sessile_schema\Z)[a-z_][a-z0-9_]{0,40}(?<!_entries)(?<!_words)(?<!_indexed)")


class PostgresSessionStore(NativeStore):
    """Sessions in PostgreSQL 12 or later.

    url: `postgresql://user:password@host:port/database`, with libpq's parameters such as `?sslmode=verify-full`.
    table_name: several stores may share a database. pool_size: connections at most, of either face; one more listens where
    somebody watches. timeout: seconds for every answer, for connecting, and to wait until a connection is free.
    `InvalidInput` for a table name that would meet other tables.

    A commit is on disk when it returns, unless the server is told otherwise (`synchronous_commit`).
    """

    schemes = ("postgresql", "postgres")
    example = "postgresql://user:password@host:port/database"

    @checked
    def __init__(
        self,
        url: str = "postgresql://localhost/postgres",
        table_name: str = "sessions",
        *,
        pool_size: int = 20,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(url, pool_size=pool_size, timeout=timeout)
        if not isinstance(table_name, str) or not _TABLE_NAME.fullmatch(table_name):
            raise InvalidInput(
                f"table_name {table_name!r:.60} cannot be used: take at most 41 small letters, digits and '_', not 'pg_…', "
                "which is PostgreSQL's own, and not '…_entries', '…_words', '…_indexed' or 'sessile_schema', which sessile names "
                "tables of its own"
            )
        self.table = table_name

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

    def wait(self, session_id: str, version: int, timeout: float) -> None:
        background(self.engine(True).wait(session_id, version, timeout))  # one connection listens for both faces

    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        """(log, position) of the messages that may be what a query asks for; None where the index may not be written."""
        engine = self.engine(False)
        return self._run(engine.index.search(query, limit, offset))

    def migrate(self) -> tuple[int, int]:
        """Bring the tables to the newest schema; done by the first commit, too. Returns the versions (from, to)."""
        return run(self.engine(False).migrate())

    def __repr__(self) -> str:
        return f"PostgresSessionStore({shown(self.url)!r}, table_name={self.table!r})"
