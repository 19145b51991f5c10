"""The Redis store of sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["RedisSessionStore"]
if TYPE_CHECKING:
    from sessile_redis.store import RedisSessionStore as RedisSessionStore
else:
    __getattr__ = lazily(__name__, RedisSessionStore="store")
