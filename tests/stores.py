"""The stores that tests run on, each as a URL of an empty place."""

from __future__ import annotations

from pathlib import Path

from sessile.log.ids import new_id

DURABLE = ("file", "sqlite")
ALL = ("memory", *DURABLE)
SERVERS = ("redis", "postgres", "mongodb")


def url_of(kind: str, folder: Path) -> str:
    """A URL that opens an empty store of a kind."""
    return {
        "memory": f"memory://{new_id()}",
        "file": f"file://{folder / 'sessions'}",
        "sqlite": f"sqlite:///{folder / 'sessions.db'}",
    }[kind]
