"""The stores that tests run on, each as a URL of an empty place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sessile import MemorySessionStore
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


class Meanwhile(MemorySessionStore):
    """Right before a commit something else happens, once, which may raise."""

    once: Callable[[], object] | None = None

    def commit(self, session_id: str, **how: Any) -> None:
        meanwhile, self.once = self.once, None
        if meanwhile is not None:
            meanwhile()
        super().commit(session_id, **how)
