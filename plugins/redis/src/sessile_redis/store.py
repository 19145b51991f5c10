"""The Redis store: a commit is one Lua script."""

from __future__ import annotations

from typing import Any

from sessile.errors import InvalidInput
from sessile.store import CONTROL, Engine, Lifetime, checked, shown, url_options
from sessile_search import IndexedStore


class RedisSessionStore(IndexedStore):
    """Sessions in Redis 6.2 or later, or what speaks its protocol.

    url: `redis://user:password@host:port/database`, `rediss://` for TLS, `redis+cluster://` for a cluster. prefix: of
    every key. ttl: seconds after its last change that a session expires (None: never); what it inherits lives on with it.
    pool_size: connections at most; all that is watched shares one more. timeout: seconds for every answer, and for
    connecting.

    A commit is as durable as the server is told to be: with `appendonly yes` and `appendfsync always`, on disk.
    """

    schemes = ("redis", "rediss", "unix", "redis+cluster", "rediss+cluster")
    example = "redis://user:password@host:port/database"

    @checked
    def __init__(
        self,
        url: str = "redis://localhost:6379",
        prefix: str = "sessile",
        ttl: Lifetime | None = None,
        *,
        pool_size: int = 50,
        timeout: float = 5.0,
    ) -> None:
        super().__init__(url, pool_size=pool_size, timeout=timeout)
        if not isinstance(prefix, str) or not prefix or set(prefix) & set("{}*?[]\\") or CONTROL.search(prefix):
            raise InvalidInput(f"prefix {prefix!r} must be text without braces, brackets, '*', '?', '\\' and control characters")
        self.cluster = "+cluster:" in url
        self.prefix = prefix
        self.ttl = ttl

    @classmethod
    def from_url(cls, url: str) -> RedisSessionStore:
        """The parameters may be in the URL: `?prefix=…&ttl=…&pool_size=…&timeout=…`; others are redis-py's."""
        address, options = url_options(url, {"prefix": str, "ttl": float, "pool_size": int, "timeout": float})
        return cls(address, **options)

    @staticmethod
    def usual_url(home: Any) -> str:
        """Where this store lies when nobody says where."""
        return "redis://localhost:6379"

    def make_engine(self, asynchronous: bool) -> Engine:
        from sessile_redis.engine import RedisEngine

        return RedisEngine(self, asynchronous)

    def place(self) -> tuple[str, ...]:
        return "redis", shown(self.url), self.prefix

    def __repr__(self) -> str:
        return f"RedisSessionStore({shown(self.url)!r}, prefix={self.prefix!r}, ttl={self.ttl})"
