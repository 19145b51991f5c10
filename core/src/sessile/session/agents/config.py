"""What an agent is told of its memory and of where that is kept, and what of it is refused."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import attrs

from sessile.drive.arguments import checked_class
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput
from sessile.plugins.discovery import installed, with_extra
from sessile.store.documents import is_document_store
from sessile.store.opening import check_store
from sessile.store.waist import is_store

logger = logging.getLogger("sessile")


@checked_class
@attrs.frozen(kw_only=True)
class MemoryConfig:
    """What an agent remembers, and where: `Agent(memory=MemoryConfig(session_id="user-123"))`.

    session_id: None keeps the conversation in this process only. db: a store's URL. backend: a registered store's
    name; without db the store lies in its usual place. auto_memory: what is said is remembered, by the memory plugin.
    """

    session_id: str | None = None
    user_id: str | None = None
    db: str | None = None
    backend: str | None = None
    auto_memory: bool = False

    @classmethod
    def of(cls, memory: Any) -> MemoryConfig:
        """The configuration in `memory=`: None, True, False, a dict of these fields, one of these, or a plugin's memory."""
        if memory is None or isinstance(memory, bool) or _is_memory(memory):
            return cls()
        if isinstance(memory, cls):
            return memory
        if isinstance(memory, Mapping) and all(isinstance(name, str) for name in memory):
            return cls(**memory)
        raise InvalidInput(
            f"memory is {shorten(memory)}: pass {{'session_id': …}}, a MemoryConfig, True (for this process only) or None"
        )


def service_option(memory: Any) -> Any:
    """The `memory=` of the sessions that an agent with this one opens: None where no plugin remembers anything."""
    wanted = memory is True or _is_memory(memory) or MemoryConfig.of(memory).auto_memory
    if not wanted or "memory" not in installed().registry.names("service"):
        return None
    return {"auto_memory": True} if isinstance(memory, (Mapping, MemoryConfig)) else memory


def option_of_session(memory: Any, agent: Any, persist: bool) -> Any:
    """The `memory=` of a session: what it was given, else its agent's memory. persist: what is said is remembered in it."""
    given = getattr(agent, "memory", None)
    given = given if _is_memory(given) else None
    if not persist:
        return given if memory is None else memory
    if memory is None or memory is True:
        return {"auto_memory": True, **({} if given is None else {"memory": given})}
    if isinstance(memory, Mapping):
        return {"auto_memory": True, **memory}
    return {"auto_memory": True, "memory": memory}


def _is_memory(memory: Any) -> bool:
    return not isinstance(memory, type) and all(callable(getattr(memory, name, None)) for name in ("add", "search"))


def adapter_of(db: Any) -> Any:
    """The object with hooks in `db=`; None for a store, or its URL or path."""
    where = db is None or isinstance(db, (str, os.PathLike)) or is_store(db) or is_document_store(db)
    return None if where else db


def check_place(config: MemoryConfig, db: Any, session: Any) -> None:
    """Refuse what says twice where a conversation is kept, what opens no store, and a db that is none and has no hooks."""
    adapter = adapter_of(db)
    if config.db is not None and db is not None and adapter is None:
        raise InvalidInput("db and memory['db'] both say where the conversation is kept: pass one of them")
    if session is not None and (db is not None or attrs.evolve(config, auto_memory=False) != MemoryConfig()):
        raise InvalidInput("memory and db are the session's where an agent speaks in one: pass them to the Session")
    if config.auto_memory and "memory" not in installed().registry.names("service"):
        logger.warning("auto_memory has no effect: no plugin for memory is installed")
    if db is None and config.db is None and config.backend is None:
        return
    active = with_extra(() if adapter is None else (adapter,), option="db")
    check_store(config.db or (db if adapter is None else None), config.backend, active)
