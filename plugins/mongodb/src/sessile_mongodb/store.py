"""The MongoDB store: a commit is the update of one document, so that no transactions are needed. The work is in `engine.py`."""

from __future__ import annotations

import re
from typing import Any

from sessile.errors import InvalidInput
from sessile.store import Engine, Lifetime, checked, run, shown, url_options
from sessile_search import IndexedStore


class MongoSessionStore(IndexedStore):
    """Sessions in MongoDB 4.4 or later, or what speaks its protocol.

    url: `mongodb://user:password@host:port/database`, with the driver's parameters such as `?tls=true`; the database is
    "sessile" where none is named. collection: several stores may share a database. ttl: seconds after its last change
    that a session expires (None: never); what it inherits lives as long. pool_size: connections at most, two for all who
    watch aside. timeout: seconds for every answer, and for connecting.

    A commit is on the disks of a majority when it returns (`w=majority`, `j=true`), unless the URL says otherwise.
    """

    schemes = ("mongodb", "mongodb+srv")
    example = "mongodb://user:password@host:port/database"

    @checked
    def __init__(
        self,
        url: str = "mongodb://localhost:27017/sessile",
        collection: str = "sessions",
        ttl: Lifetime | None = None,
        *,
        pool_size: int = 50,
        timeout: float = 10.0,
    ) -> None:
        super().__init__(url, pool_size=pool_size, timeout=timeout)
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", collection):
            raise InvalidInput(f"collection {collection!r} is no plain name: use letters, digits and '_'")
        self.collection = collection
        self.ttl = ttl

    @classmethod
    def from_url(cls, url: str) -> MongoSessionStore:
        """The parameters may be in the URL: `?collection=…&ttl=…&pool_size=…&timeout=…`; others are the driver's."""
        address, options = url_options(url, {"collection": str, "ttl": float, "pool_size": int, "timeout": float})
        if address.startswith("mongo:"):
            address = "mongodb" + address[len("mongo") :]
        return cls(address, **options)

    @staticmethod
    def usual_url(home: Any) -> str:
        """Where this store lies when nobody says where."""
        return "mongodb://localhost:27017/sessile"

    def make_engine(self, asynchronous: bool) -> Engine:
        from sessile_mongodb.engine import MongoEngine

        return MongoEngine(self, asynchronous)

    def migrate(self) -> tuple[int, int]:
        """Bring the collections to the newest schema; done by the first commit, too. Returns the versions (from, to)."""
        return run(self.engine(False).migrate())

    def place(self) -> tuple[str, ...]:
        return "mongodb", shown(self.url), self.collection

    def __repr__(self) -> str:
        return f"MongoSessionStore({shown(self.url)!r}, collection={self.collection!r}, ttl={self.ttl})"
