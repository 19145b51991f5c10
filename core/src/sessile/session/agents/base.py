"""What both faces of an agent share: what it is made of, and the sessions it opens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, Generic, TypedDict, TypeVar

from sessile.conversation.model import Model, is_model
from sessile.conversation.tools import Tool, named
from sessile.conversation.turn import AgentLike
from sessile.drive.arguments import Check, Positive, checked_class
from sessile.drive.faces import IsSession
from sessile.drive.locks import new_lock
from sessile.errors import Closed, InvalidInput
from sessile.log.encoding import JSON, json_value
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import installed, with_extra
from sessile.plugins.finding_models import find_model
from sessile.plugins.registry import refuse_untaken
from sessile.session.agents.config import MemoryConfig, adapter_of, check_place, service_option
from sessile.session.live.open_sessions import OpenSessions
from sessile.store.capabilities import Capabilities
from sessile.store.memory import MemorySessionStore
from sessile.store.opening import find_store, share_store

ModelLike = str | Annotated[Model, Check(is_model, "an object with generate(request)")] | None
SessionType = TypeVar("SessionType")  # a session of the face that an agent has
SpeaksIn = Annotated[SessionType, Check(lambda value: isinstance(value, IsSession) and not isinstance(value, type), "a session")]


class AgentOptions(TypedDict, total=False):
    """The keywords of `Agent` that are not about its session."""

    model: ModelLike
    memory: Any
    tools: Iterable[Callable[..., Any] | Tool]
    window: Positive | None
    budget: Positive | None
    max_steps: Positive
    options: Mapping[str, JSON] | None


@checked_class
class BaseAgent(AgentLike, Generic[SessionType]):
    """What `Agent` and `AsyncAgent` share."""

    _awaits: bool  # does it speak in sessions whose methods are awaited?

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
        session: SpeaksIn[SessionType] | None = None,
    ) -> None:
        if not name:
            raise InvalidInput("an agent's name is empty: pass a name, or leave it out")
        check_place(MemoryConfig.of(memory), db, session)
        self._check_face(session)
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
        self._others = OpenSessions(self._open_session, self._close_session)
        self._closings: set[Any] = set()  # tasks that close sessions which are put away
        self._store: Any = None  # of the sessions it opens, once there is one
        self._release: Callable[[], None] = lambda: None  # gives that back
        self._process = 0  # that opened the store
        self._opening = new_lock()
        self._beginning = new_lock()
        self.closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    def find_model(self, plugins: Plugins) -> Model:
        """The model instance this agent speaks with."""
        return find_model(self.model, plugins)

    @property
    def session(self) -> SessionType:
        """The session this agent speaks in: the one it was made in, else one of its own, opened when first needed."""
        if self._session is None:
            with self._beginning:
                if self._session is None:
                    self._check_open()
                    self._session = self._open_session(MemoryConfig.of(self.memory).session_id)
        session: SessionType = self._session
        return session

    def _check_face(self, session: Any) -> None:
        """`InvalidInput` for a session of the other face."""
        if session is not None and session._awaits is not self._awaits:
            kind = "an AsyncAgent" if session._awaits else "an Agent"
            raise InvalidInput(f"session is {session!r}, in which {type(self).__name__} cannot speak: make {kind} of it")

    def _open_session(self, session_id: str | None) -> Any:
        from sessile.session import AsyncSession, Session

        kind: Any = AsyncSession if self._awaits else Session
        if not self._owns:
            return self._open_beside(kind, session_id)
        config = MemoryConfig.of(self.memory)
        adapter = adapter_of(self.db)
        store = self._find_store(config, adapter, session_id)
        session = kind(
            session_id,
            user_id=config.user_id,
            store=store,
            agent=self,
            plugins=() if adapter is None else (adapter,),
            knowledge=self.knowledge,
            memory=service_option(self.memory),
        )
        session._handle.release = share_store(store)  # which stays open for a turn that is under way when the agent is closed
        return session

    def _open_beside(self, kind: Any, session_id: str | None) -> Any:
        """Another session, where the one lies that the agent was made in: of the same user and application."""
        beside, store = self._session._handle, self._session._store
        if store is None:
            raise InvalidInput(f"agent {self.name!r} speaks in a session elsewhere, and in no other: leave session_id out")
        session = kind(
            session_id,
            user_id=beside.seen.user_id,
            app=beside.seen.app or None,
            store=store,
            agent=self,
            plugins=beside.plugins,
            middleware=beside.middleware,
            strict=beside.strict,
            timeout=beside.timeout,
        )
        session._handle.bound, session._handle.release = beside.bound, share_store(store)
        return session

    def _close_session(self, session: Any) -> None:
        session.close()

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

    def _is_own(self, session_id: str | None) -> bool:
        return session_id is None or (self._session is not None and session_id == self._session.session_id)

    @contextmanager
    def _speaking_in(self, session_id: str | None) -> Iterator[Any]:
        """The session of an id, open as long as this lasts; None: its own."""
        self._check_open()
        if session_id is None or self._is_own(session_id):
            yield self.session
        else:
            with self._others.use(session_id) as session:
                yield session

    def _check_open(self) -> None:
        if self.closed:
            raise Closed(f"agent {self.name!r} is closed: make a new one to speak in its sessions again")

    def _let_go(self) -> None:
        """Give back the store of the sessions that it has opened."""
        with self._opening:
            self._release()
            self._release = lambda: None
