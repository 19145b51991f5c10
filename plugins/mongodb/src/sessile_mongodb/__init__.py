"""The MongoDB store of sessile."""

from typing import Any

__all__ = ["MongoSessionStore"]


def __getattr__(name: str) -> Any:  # on first use: registering the plugin imports this package, and must stay light
    if name in __all__:
        from sessile_mongodb import store

        return getattr(store, name)
    raise AttributeError(name)
