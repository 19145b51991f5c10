"""The MongoDB store of sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["MongoSessionStore"]
if TYPE_CHECKING:
    from sessile_mongodb.store import MongoSessionStore as MongoSessionStore
else:
    __getattr__ = lazily(__name__, MongoSessionStore="store")
