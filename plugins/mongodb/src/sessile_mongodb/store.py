"""The MongoDB store: a commit is the update of one document, so that no transactions are needed. The work is in `engine.py`."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from sessile.drive import run
from sessile.errors import InvalidInput
from sessile.native import Engine, NativeStore
from sessile.stores import shown


class MongoSessionStore(NativeStore):
    """Sessions in MongoDB 4.4 or later, or what speaks its protocol.

    url: `mongodb://user:password@host:port/database`, with the driver's parameters such as `?tls=true`; the database is
    "sessile" where none is named. collection: several stores may share a database. ttl: seconds after its last change
    that a session expires (None: never); what it was forked from lives on with it. pool_size: connections at most.
    timeout: seconds for every answer, and for connecting.

    A commit is on the disks of a majority when it returns (`w=majority`, `j=true`), unless the URL says otherwise.
    """

    def __init__(
        self,
        url: str = "mongodb://localhost:27017/sessile",
        collection: str = "sessions",
        ttl: float | None = None,
        *,
        pool_size: int = 50,
        timeout: float = 10.0,
    ) -> None:
        if urlsplit(url).scheme not in ("mongodb", "mongodb+srv"):
            raise InvalidInput(f"{shown(url)!r} is no address of a MongoDB: write mongodb://user:password@host:port/database")
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,60}", collection):
            raise InvalidInput(f"collection {collection!r} is no plain name: use letters, digits and '_'")
        if ttl is not None and ttl <= 0:
            raise InvalidInput(f"ttl is {ttl!r}: give seconds above 0, or None for sessions that stay")
        super().__init__()
        self.url = url
        self.collection = collection
        self.ttl = ttl
        self.pool_size = pool_size
        self.timeout = timeout

    @classmethod
    def from_url(cls, url: str) -> MongoSessionStore:
        """The parameters may be in the URL: `?collection=…&ttl=…&pool_size=…&timeout=…`; others are the driver's."""
        parts = urlsplit(url)
        ours: dict[str, Any] = {}
        others = []
        for name, value in parse_qsl(parts.query):
            kind = {"collection": str, "ttl": float, "pool_size": int, "timeout": float}.get(name)
            if kind is None:
                others.append((name, value))
                continue
            try:
                ours[name] = kind(value)
            except ValueError as error:
                raise InvalidInput(f"{name}={value!r} in {shown(url)!r} is no number") from error
        scheme = "mongodb" if parts.scheme == "mongo" else parts.scheme
        return cls(urlunsplit(parts._replace(scheme=scheme, query=urlencode(others))), **ours)

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

    def __repr__(self) -> str:
        return f"MongoSessionStore({shown(self.url)!r}, collection={self.collection!r}, ttl={self.ttl})"
