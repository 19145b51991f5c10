"""`Memory`: what a program remembers of a user, in a file of its own; `Agent(memory=…)` and `Session(memory=…)` take one, too."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from sessile.errors import InvalidInput, NotInstalled, SessileError
from sessile.plugins import Plugins, installed
from sessile.store import JSON, check_id, home
from sessile_memory.base import BaseMemory
from sessile_memory.items import EMBEDDER
from sessile_memory.table import MemoryTable, Row
from sessile_retrieval import Database, Embedder, Span, find_embedder

PROVIDERS = ("sqlite", "rag")  # "rag" is what other frameworks call words and vectors in one file
HAND = "hand:"  # begins the source of what is added without a session: no log has a colon there
_CONFIG = ("db_path", "embedder", "embedding_model", "use_embedding", "auto_memory")


class Memory(BaseMemory):
    """What is remembered of a user, found by words and meaning.

    provider: "sqlite". config: "db_path", a file (default: memory.db in the session home; "" keeps it in this process);
    "embedder", a registered name or an instance ("wordllama" by default), or "use_embedding": False for words only;
    "embedding_model" names one of somebody's service: it is used where its plugin is configured, else the default, with a notice.
    quality_threshold: below it nothing is stored. max_memories: over it, the least good go. user_id: whose memory it is;
    app: in which application ("" for none), as that of its sessions.
    """

    owns_file = True

    def __init__(
        self,
        provider: str = "sqlite",
        config: Mapping[str, Any] | None = None,
        *,
        quality_threshold: float | None = None,
        max_memories: int | None = None,
        user_id: str = "default_user",
        app: str = "",
    ) -> None:
        check_provider(provider)
        self.config = check_config(config)
        self.user_id, self.app = check_id(user_id, "user id"), app and check_id(app, "name of an application")
        table = MemoryTable(Database(path_of(self.config)), embedder_of(self.config, installed()))
        super().__init__(table, quality_threshold=quality_threshold, max_memories=max_memories)

    def __repr__(self) -> str:
        return f"Memory({str(self.table.database.path or 'in this process')!r}, user_id={self.user_id!r})"

    @classmethod
    def of_table(cls, table: MemoryTable, user_id: str, app: str) -> Memory:
        """The memory of a user of an application, in a table that somebody else has opened."""
        memory = object.__new__(cls)
        memory.config, memory.user_id, memory.app = {}, user_id, app
        memory.owns_file = False
        BaseMemory.__init__(memory, table)
        return memory

    def user(self, user_id: str) -> Memory:
        """The memory of another user, in the same place; closing it is left to this one."""
        other = object.__new__(Memory)
        other.__dict__.update(self.__dict__)
        other.owns_file = False
        other.user_id = check_id(user_id, "user id")
        return other

    def _spans(self) -> list[Span]:
        return [Span(hand_of(self.app))]

    def _record(self, kind: str, body: dict[str, JSON]) -> None:
        with self.table.database.writing():
            source = hand_of(self.app)
            place = self.table.next_place(self.user_id, source)
            self.table.apply(self.user_id, [Row(source, place, kind, body, time.time())])
        self.embed()

    def forget(self) -> int:
        """Erase all that was added to this memory of its user, for good; how many items that were."""
        count = self.table.forget(self.user_id, [hand_of(self.app)])
        self.table.index.erase()
        return count

    def close(self) -> None:
        """Close its file; the memory of another user's, or of a session, leaves that open."""
        if self.owns_file:
            self.table.database.close()

    close_connections = close

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def hand_of(app: str) -> str:
    """The source of what is added without a session, for the sessions of an application ("" for none)."""
    return HAND + app


def check_provider(provider: Any) -> None:
    """`NotInstalled` for a provider that there is not."""
    if provider not in PROVIDERS:
        installed().registry.find("memory", str(provider))  # says what there is


def check_config(config: Any) -> dict[str, Any]:
    """The configuration of a memory, checked."""
    if config is None:
        return {}
    if not isinstance(config, Mapping):
        raise InvalidInput(f"config is {config!r:.60}: pass a dict, such as {{'db_path': 'memories.db'}}")
    unknown = [name for name in config if name not in _CONFIG]
    if unknown:
        raise InvalidInput(f"config has {', '.join(map(repr, unknown))}, which a memory does not know: use {', '.join(_CONFIG)}")
    for name in ("use_embedding", "auto_memory"):
        if not isinstance(config.get(name, False), bool):
            raise InvalidInput(f"config[{name!r}] is {config[name]!r:.60}: pass True or False")
    path = config.get("db_path")
    if path is not None and not isinstance(path, (str, os.PathLike)):
        raise InvalidInput(f"config['db_path'] is {path!r:.60}: pass the path of a file")
    return dict(config)


def path_of(config: Mapping[str, Any]) -> Path | None:
    """Where a memory lies; None: in this process."""
    path = config.get("db_path")
    if path is None:
        return home() / "memory.db"
    return Path(path) if str(path) else None


def embedder_of(config: Mapping[str, Any], plugins: Plugins) -> Embedder | None:
    """The embedder of a configuration. What cannot be had is said, and the default taken: nothing is sent anywhere unasked."""
    if config.get("use_embedding") is False:
        return None
    model = config.get("embedding_model")
    wanted = config.get("embedder") or EMBEDDER
    if model is not None and "embedder" not in config:
        try:
            return find_embedder(str(model), plugins)
        except SessileError:
            notice(f"embedding_model {model!r} is not configured here, so {EMBEDDER} is used: nothing is sent anywhere")
    try:
        return find_embedder(wanted, plugins)
    except NotInstalled as error:
        notice(f"memories are found by their words only: {error}")
        return None


def notice(text: str) -> None:
    """Tell the user something that is no error."""
    logging.getLogger("sessile").warning("%s", text)
