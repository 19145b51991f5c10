"""`session.memory`: the memory of a session, which follows what counts in it, and in the user's other conversations."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from sessile import AsyncSession, MemoryConfig, Session, SessionManager
from sessile import Span as LogSpan
from sessile.errors import InvalidInput, SessileError
from sessile.plugins import Plugins
from sessile.store import JSON, Capabilities
from sessile_memory.base import BaseMemory
from sessile_memory.following import Following, text_of
from sessile_memory.items import Evidence, Item
from sessile_memory.memory import HAND, Memory, check_config, check_provider, embedder_of, hand_of, path_of
from sessile_memory.opening import open_table, release_table, table_beside
from sessile_memory.table import DELETE
from sessile_retrieval import Span

logger = logging.getLogger("sessile")
_AT_ONCE = 64  # texts that are embedded at once, when something is added or searched; the others are embedded behind the turns
_OPTIONS = ("provider", "config", "quality_threshold", "max_memories", "auto_memory", "memory")


class SessionMemory(BaseMemory):
    """What is remembered in a session; see `sessile.Session`'s `memory=`.

    What is added by hand is an entry of the session, so that a revert, a fork, a copy and an export have it; with `auto_memory`
    the texts of messages are remembered, too. It recalls what counts in the session, what other conversations of the
    user said (not the siblings of its forks), and what was promoted to the user.
    """

    def __init__(self, session: Any, option: Any) -> None:
        self._session = session
        settings = _settings(option)
        given, config = settings["memory"], settings["config"]
        if given is not None:
            table, self._release = given.table, lambda: None
        else:
            embedder = embedder_of(config, session.plugins)
            if Capabilities.of(session.store).private and "db_path" not in config:
                table, self._release = table_beside(session.store, embedder), lambda: None
            else:
                table = open_table(path_of(config), embedder)
                self._release = lambda: release_table(table)
        super().__init__(table, quality_threshold=settings["quality_threshold"], max_memories=settings["max_memories"])
        if given is not None:
            self.scorer = given.scorer
        self.auto_memory = bool(settings["auto_memory"])
        self._following = Following(table, self.auto_memory)

    @property
    def user_id(self) -> str:  # type: ignore[override]  # an `AsyncSession`'s is not known before it is open
        """Whose memory it is."""
        return str(self._session.user_id)

    def _plugins(self) -> Plugins:
        plugins: Plugins = self._session.plugins
        return plugins

    def _blocking(self) -> Session:
        session: Session = self._session if isinstance(self._session, Session) else self._session.blocking
        return session

    def refresh(self) -> None:
        """Take in what the session has new, and make the vectors that are lacking: what is done behind a turn."""
        with self._lock:
            self._following.own(self._blocking())
        self.embed()

    def _spans(self) -> list[Span]:
        with self._lock:
            session = self._blocking()
            spans = [*self._following.own(session), *self._following.others(session), Span(hand_of(self._session.app))]
        if self.table.index.embedder is not None:
            self.embed(_AT_ONCE)
        return spans

    def _own_spans(self) -> list[Span]:
        with self._lock:
            return [*self._following.own(self._blocking()), Span(hand_of(self._session.app))]

    def _record(self, kind: str, body: dict[str, JSON]) -> None:
        session = self._blocking()
        session.append(kind, body)
        self._following.own(session)
        self.embed(_AT_ONCE)

    def _users(self) -> Memory:
        """The user's own memory: what was promoted, or added without a session."""
        return Memory.of_table(self.table, self.user_id, self._session.app)

    def _is_users(self, item_id: str) -> bool:
        item = self.get(item_id)
        return item is not None and item.evidence is not None and item.evidence.log.startswith(HAND)

    def update(self, item_id: str, *, text: str | None = None, metadata: Mapping[str, JSON] | None = None) -> Item:
        """See `Memory.update`. What is the user's is said anew for all the user's sessions."""
        if self._is_users(item_id):
            return self._users().update(item_id, text=text, metadata=metadata)
        return super().update(item_id, text=text, metadata=metadata)

    def delete(self, item_id: str) -> None:
        """See `Memory.delete`. What is the user's is taken back for all the user's sessions."""
        if self._is_users(item_id):
            self._users().delete(item_id)
        else:
            super().delete(item_id)

    def promote(self, item_id: str) -> Item:
        """Make an item the user's, which stays when the session goes; that item. `InvalidInput` for an id that there is not."""
        with self._lock:
            item = self._there(item_id)
            if self._is_users(item_id):
                return item
            made = self._users().add(item.text, kind="user", metadata=item.metadata)
            if item.kind != "message":
                self._record(DELETE, {"id": item_id, "reason": "promoted"})
        assert made is not None  # it has no threshold
        return made

    def _checked(self, items: list[Item]) -> list[Item]:
        """Re-read what each item is from: one whose text does not say so any more is dropped, and that is logged."""
        return [checked for item in items if (checked := self._checked_one(item)) is not None]

    def _checked_one(self, item: Item) -> Item | None:
        evidence = item.evidence
        if evidence is None or evidence.log.startswith(HAND):
            return item
        session = self._blocking()
        reader = self._following.reader(session, evidence.log, evidence.position)
        try:
            entry = self._read(session, reader, evidence)
        except SessileError as error:
            logger.warning("a memory is not recalled, as what it is from cannot be read (%s): %.80r", error, item.text)
            return None
        if not evidence.fits(text_of(entry)):
            logger.warning("a memory is not recalled, as what it is from says something else now: %.80r", item.text)
            return None
        return attrs.evolve(item, evidence=attrs.evolve(evidence, session_id=reader))

    def _read(self, session: Session, reader: str, evidence: Evidence) -> Any:
        span = LogSpan(evidence.log, evidence.position, evidence.position + 1)
        if reader == session.session_id:
            return session.read(span)[0]
        other = SessionManager(session.store).user(self.user_id).get_session(reader) if reader else None
        if other is None:
            raise InvalidInput(f"no session reads {evidence.log!r}")
        with other:
            return other.read(span)[0]

    def close(self) -> None:
        """Give back its file. Once it is closed, closing does nothing."""
        release, self._release = self._release, lambda: None
        release()

    close_connections = close


def _settings(option: Any) -> dict[str, Any]:
    """What `memory=` says."""
    settings: dict[str, Any] = {
        "memory": None,
        "config": {},
        "quality_threshold": None,
        "max_memories": None,
        "auto_memory": False,
    }
    if option is None or option is True:
        return settings
    if isinstance(option, Memory):
        option = {"memory": option}
    if isinstance(option, MemoryConfig):
        option = {"auto_memory": option.auto_memory}
    if isinstance(option, str):
        option = {"config": {"db_path": option}}
    if not isinstance(option, Mapping):
        raise InvalidInput(f"memory is {option!r:.60}: pass True, a dict, a path, or a Memory")
    check_provider(option.get("provider", "sqlite"))
    if not isinstance(option.get("auto_memory", False), bool):
        raise InvalidInput(f"memory['auto_memory'] is {option['auto_memory']!r:.60}: pass True or False")
    flat = {name: value for name, value in option.items() if name not in _OPTIONS}
    settings.update({name: value for name, value in option.items() if name in _OPTIONS and name != "provider"})
    given = settings["memory"]
    if given is not None and not isinstance(given, Memory):
        raise InvalidInput(f"memory['memory'] is {given!r:.60}: pass a Memory")
    settings["config"] = check_config({**(settings["config"] or {}), **flat})
    if given is not None:
        if said := [name for name in ("config", "quality_threshold", "max_memories") if settings[name]]:
            raise InvalidInput(f"memory has a Memory and {', '.join(said)}: say that when you make the Memory")
        settings["quality_threshold"], settings["max_memories"] = given.quality_threshold, given.max_memories
        settings["auto_memory"] = settings["auto_memory"] or given.config.get("auto_memory", False)
    return settings


def memory_of(session: Any, option: Any) -> SessionMemory | AsyncSessionMemory:
    """The service that the plugin registers: the session's memory, in the session's face."""
    if not isinstance(session, AsyncSession):
        return SessionMemory(session, option)
    return AsyncSessionMemory(SessionMemory(session, option))


def _in_a_thread(name: str) -> Any:
    method: Callable[..., Any] = getattr(SessionMemory, name)

    async def awaited(self: AsyncSessionMemory, *args: Any, **kwargs: Any) -> Any:
        return await asyncio.to_thread(getattr(self.blocking, name), *args, **kwargs)

    awaited.__name__, awaited.__doc__ = name, method.__doc__
    awaited.__qualname__ = f"AsyncSessionMemory.{name}"
    return awaited


class AsyncSessionMemory:
    """A `SessionMemory` whose methods are awaited. blocking: the same, for code in a worker thread."""

    def __init__(self, blocking: SessionMemory) -> None:
        self.blocking = blocking

    add, update, delete, promote = map(_in_a_thread, ("add", "update", "delete", "promote"))
    get, all, history, search = map(_in_a_thread, ("get", "all", "history", "search"))
    export, stats, embed, refresh = map(_in_a_thread, ("export", "stats", "embed", "refresh"))

    @property
    def auto_memory(self) -> bool:
        """Are the texts of messages remembered?"""
        return self.blocking.auto_memory

    def set_quality_scorer(self, scorer: Any) -> None:
        """See `SessionMemory.set_quality_scorer`."""
        self.blocking.set_quality_scorer(scorer)

    def close(self) -> None:
        """Give back its file."""
        self.blocking.close()

    close_connections = close
