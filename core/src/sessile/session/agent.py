"""The agent: a model with a name, instructions and tools, and the session it speaks in."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Annotated, Any

import attrs

from sessile.conversation.model import is_model
from sessile.conversation.tools import Tool, named
from sessile.conversation.turn import AgentLike
from sessile.drive.arguments import Check, Positive, checked_class
from sessile.drive.faces import Awaiting, HasHandle
from sessile.drive.locks import new_lock
from sessile.drive.shown import shorten
from sessile.errors import Closed, InvalidInput
from sessile.log.encoding import JSON, json_value
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import installed, with_extra
from sessile.plugins.finding_models import find_model
from sessile.plugins.registry import refuse_untaken
from sessile.session.live.open_sessions import OpenSessions
from sessile.store.capabilities import Capabilities
from sessile.store.documents import is_document_store
from sessile.store.memory import MemorySessionStore
from sessile.store.opening import check_store, find_store
from sessile.store.waist import is_store

logger = logging.getLogger("sessile")


@checked_class
@attrs.frozen(kw_only=True)
class MemoryConfig:
    """What an agent remembers, and where: `Agent(memory=MemoryConfig(session_id="user-123"))`.

    session_id: None keeps the conversation in this process only. db: a store's URL. backend: a registered store's
    name; without db the store lies in its usual place. auto_memory: kept for a memory plugin, which reads it.
    """

    session_id: str | None = None
    user_id: str | None = None
    db: str | None = None
    backend: str | None = None
    auto_memory: bool = False

    @classmethod
    def of(cls, memory: Any) -> MemoryConfig:
        """The configuration in `memory=`: None, True, False, a dict of these fields, or one of these as it is."""
        if memory is None or isinstance(memory, bool):
            return cls()
        if isinstance(memory, cls):
            return memory
        if isinstance(memory, Mapping) and all(isinstance(name, str) for name in memory):
            return cls(**memory)
        raise InvalidInput(
            f"memory is {shorten(memory)}: pass {{'session_id': …}}, a MemoryConfig, True (for this process only) or None"
        )


ModelLike = str | Annotated[Any, Check(is_model, "an object with generate(request)")] | None
SpeaksIn = Annotated[HasHandle, Check(lambda value: not isinstance(value, type), "a session")]


@checked_class
class Agent(AgentLike):
    """A model that follows instructions, calls tools, and remembers.

    model: a registered name, an instance, or None for $SESSILE_MODEL, else the embedded one. tools: plain functions.
    memory: {"session_id": …}, a `MemoryConfig`; without a session id the conversation ends with the process.
    db: a store's URL, or an object with hooks such as `on_user_message` that does the storing itself.
    window, budget: at most so many messages and tokens of history are sent (None: the model's own, else 50 and 8,000).
    max_steps: how often the model may call tools in one turn. options: what the model is given with each request,
    such as {"temperature": 0}. session: the session it speaks in; None opens one as `memory` and `db` say, which `close`,
    or the end of `with`, closes.
    """

    def __init__(
        self,
        name: str = "Assistant",
        instructions: str = "",
        *,
        model: ModelLike = None,
        tools: Iterable[Callable[..., Any] | Tool] = (),
        memory: Any = None,
        knowledge: Any = None,
        db: Any = None,
        window: Positive | None = None,
        budget: Positive | None = None,
        max_steps: Positive = 8,
        options: Mapping[str, JSON] | None = None,
        session: SpeaksIn | None = None,
    ) -> None:
        if not name:
            raise InvalidInput("an agent's name is empty: pass a name, or leave it out")
        _check_place(MemoryConfig.of(memory), db, session)
        if knowledge is not None:
            refuse_untaken(installed().registry, knowledge=knowledge)
            if session is not None:
                raise InvalidInput("knowledge is the session's where an agent speaks in one: pass it to the Session")
        self.name = name
        self.instructions = instructions
        self.model = model
        self.tools: list[Tool] = list(named(tools, name).values())
        self.memory = memory
        self.knowledge = knowledge
        self.db = db
        self.window = window
        self.budget = budget
        self.max_steps = max_steps
        self.options: dict[str, JSON] = json_value(dict(options or {}), "options")
        self.context: Any = None  # for callers to hang on what their own middleware reads
        self._session: Any = session
        self._owns = session is None  # is the session its own, to be closed?
        self._others = OpenSessions(self._open_session)
        self._store: Any = None  # of the sessions it opens, once there is one
        self._release: Callable[[], None] = lambda: None  # gives that back
        self._process = 0  # that opened the store
        self._opening = new_lock()
        self._beginning = new_lock()
        self.closed = False

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def find_model(self, plugins: Plugins) -> Any:
        """The model instance this agent speaks with."""
        return find_model(self.model, plugins)

    @property
    def session(self) -> Any:
        """The session this agent speaks in: the one it was made in, else one of its own, opened when first needed."""
        if self._session is None:
            with self._beginning:
                if self._session is None:
                    self._check_open()
                    self._session = self._open_session(MemoryConfig.of(self.memory).session_id)
        return self._session

    def _open_session(self, session_id: str | None) -> Any:
        from sessile.session import Session

        config = MemoryConfig.of(self.memory)
        adapter = adapter_of(self.db)
        return Session(
            session_id,
            user_id=config.user_id,
            store=self._find_store(config, adapter, session_id),
            agent=self,
            plugins=() if adapter is None else (adapter,),
            knowledge=self.knowledge,
        )

    def _find_store(self, config: MemoryConfig, adapter: Any, session_id: str | None) -> Any:
        """The store of the sessions that it opens, one for all: what lies in a memory store outlives the one that is closed."""
        where: Any = config.db or (self.db if adapter is None else None)
        if where is None and config.backend is None:
            if adapter is None and session_id is None:
                return MemorySessionStore()  # nothing to remember it by
            where = MemorySessionStore() if adapter is not None else None  # the adapter remembers
        with self._opening:
            if self._store is None or (self._process != os.getpid() and not Capabilities.of(self._store).private):
                active = with_extra(() if adapter is None else (adapter,), option="db")
                self._store, self._release = find_store(where, config.backend, active)
                self._process = os.getpid()  # a forked child's connection is another
            return self._store

    def chat(self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None) -> Any:
        """Say something and return the reply. session_id: speak in another session than the agent's own.

        metadata: JSON values that are stored with the message. In an `AsyncSession` the result is to be awaited. Raises
        what `Session.chat` raises, and `Closed` for an agent that was closed.
        """
        if self._is_own(session_id):
            self._check_open()
            return self.session.chat(message, agent=self, **_given(metadata))
        with self._other(session_id) as session:
            return session.chat(message, agent=self, **_given(metadata))

    start = chat

    def stream(
        self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> Iterator[str]:
        """Say something and get the reply in pieces as they arrive."""
        if self._is_own(session_id):
            self._check_open()
            pieces: Iterator[str] = self.session.stream(message, agent=self, **_given(metadata))
            return pieces
        with self._other(session_id) as session:
            session.stream(message, agent=self, **_given(metadata))  # not begun: what is wrong with it is said now

        def of_another() -> Iterator[str]:
            with self._other(session_id) as session:
                yield from session.stream(message, agent=self, **_given(metadata))

        return of_another()

    def _is_own(self, session_id: str | None) -> bool:
        return session_id is None or (self._session is not None and session_id == self._session.session_id)

    def _other(self, session_id: str | None) -> AbstractContextManager[Any]:
        """Another session than its own, open as long as this lasts."""
        self._check_open()
        assert session_id is not None
        return self._others.use(session_id)

    def _check_open(self) -> None:
        if self.closed:
            raise Closed(f"agent {self.name!r} is closed: make a new Agent to speak in its sessions again")

    def close(self) -> None:
        """Close the sessions that it has opened, and their store; the session that it was made in stays open.

        Those that other threads speak in are closed when these are done. A thousand are kept open at most: the least recently
        used is closed by itself.
        """
        self.closed = True
        if self._owns and self._session is not None:
            self._session.close()
        self._others.forget_all()
        with self._opening:
            self._release()
            self._release = lambda: None

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Agent:
        return self

    async def __aexit__(self, *_: object) -> None:
        await Awaiting().call(self.close)


def adapter_of(db: Any) -> Any:
    """The object with hooks in `db=`; None for a store, or its URL or path."""
    where = db is None or isinstance(db, (str, os.PathLike)) or is_store(db) or is_document_store(db)
    return None if where else db


def _check_place(config: MemoryConfig, db: Any, session: Any) -> None:
    """Refuse what says twice where a conversation is kept, what opens no store, and a db that is none and has no hooks."""
    adapter = adapter_of(db)
    if config.db is not None and db is not None and adapter is None:
        raise InvalidInput("db and memory['db'] both say where the conversation is kept: pass one of them")
    if session is not None and (db is not None or attrs.evolve(config, auto_memory=False) != MemoryConfig()):
        raise InvalidInput("memory and db are the session's where an agent speaks in one: pass them to the Session")
    if config.auto_memory and not installed().registry.names("memory"):
        logger.warning("auto_memory has no effect: no plugin for memory is installed")
    if db is None and config.db is None and config.backend is None:
        return
    active = with_extra(() if adapter is None else (adapter,), option="db")
    check_store(config.db or (db if adapter is None else None), config.backend, active)


def _given(metadata: Mapping[str, JSON] | None) -> dict[str, Any]:
    """The keyword for metadata where there is some: a subclass's `chat` may not have it."""
    return {} if metadata is None else {"metadata": metadata}


@attrs.frozen
class Result:
    """What `Runner` returns: `final_output` is the reply's text, `messages` the whole conversation."""

    final_output: str
    messages: list[Any]


@checked_class
class Runner:
    """Runs an agent once over a given history, storing nothing."""

    @staticmethod
    def run(agent: Agent, message: JSON, *, history: Iterable[Any] = ()) -> Result:
        """Ask an agent. history: messages, or dicts with role and content."""
        from sessile.session import Session

        with Session(store=MemorySessionStore(), agent=agent) as session:
            session.set_history(history)
            return Result(session.chat(message, agent=agent), session.get_history())

    @staticmethod
    async def run_async(agent: Agent, message: JSON, *, history: Iterable[Any] = ()) -> Result:
        """As `run`, awaited."""
        from sessile.session import AsyncSession

        async with AsyncSession(store=MemorySessionStore(), agent=agent) as session:
            await session.set_history(history)
            return Result(await session.chat(message, agent=agent), await session.get_history())
