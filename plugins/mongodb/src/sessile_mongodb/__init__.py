"""The MongoDB store of sessile."""

from sessile.plugins import lazily

__all__ = ["MongoSessionStore"]
__getattr__ = lazily(__name__, MongoSessionStore="store")
