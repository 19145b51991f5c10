"""The Redis store of sessile."""

from sessile.plugins import lazily

__all__ = ["RedisSessionStore"]
__getattr__ = lazily(__name__, RedisSessionStore="store")
