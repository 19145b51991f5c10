"""The agent, in both faces: a model with a name, instructions and tools, and the session it speaks in."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, Self, TypedDict, Unpack

from sessile.conversation.model import Model, is_model
from sessile.conversation.tools import Tool, named
from sessile.conversation.turn import AgentLike
from sessile.drive.arguments import Check, Positive, checked_class
from sessile.drive.faces import Awaiting, IsSession
from sessile.drive.locks import new_lock
from sessile.errors import Closed, InvalidInput
from sessile.log.encoding import JSON, json_value
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import installed, with_extra
from sessile.plugins.finding_models import find_model
from sessile.plugins.registry import refuse_untaken
from sessile.session.agents.config import MemoryConfig, adapter_of, check_place
from sessile.session.live.open_sessions import OpenSessions
from sessile.store.capabilities import Capabilities
from sessile.store.memory import MemorySessionStore
from sessile.store.opening import find_store, share_store

ModelLike = str | Annotated[Model, Check(is_model, "an object with generate(request)")] | None
SpeaksIn = Annotated[IsSession, Check(lambda value: not isinstance(value, type), "a session")]
logger = logging.getLogger("sessile")


class Blocks(Protocol):
    """A `Session`, as type checkers see it."""

    @property
    def _awaits(self) -> Literal[False]: ...


class Awaits(Protocol):
    """An `AsyncSession`."""

    @property
    def _awaits(self) -> Literal[True]: ...


class AgentOptions(TypedDict, total=False):
    """The keywords of `Agent` that are not about its session."""

    model: ModelLike
    tools: Iterable[Callable[..., Any] | Tool]
    window: Positive | None
    budget: Positive | None
    max_steps: Positive
    options: Mapping[str, JSON] | None


@checked_class
class BaseAgent(AgentLike):
    """See `Agent`."""

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
        session: SpeaksIn | None = None,
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
        self._unused: list[Any] = []  # sessions that are to be closed
        self._store: Any = None  # of the sessions it opens, once there is one
        self._release: Callable[[], None] = lambda: None  # gives that back
        self._process = 0  # that opened the store
        self._opening = new_lock()
        self._beginning = new_lock()
        self.closed = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

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

    def _check_face(self, session: Any) -> None:
        """`InvalidInput` for a session of the other face."""
        if session is not None and session._awaits is not self._awaits:
            kind = "an AsyncAgent" if session._awaits else "an Agent"
            raise InvalidInput(f"session is {session!r}, in which {type(self).__name__} cannot speak: make {kind} of it")

    def _open_session(self, session_id: str | None) -> Any:
        from sessile.session import AsyncSession, Session

        config = MemoryConfig.of(self.memory)
        adapter = adapter_of(self.db)
        store = self._find_store(config, adapter, session_id)
        session = (AsyncSession if self._awaits else Session)(
            session_id,
            user_id=config.user_id,
            store=store,
            agent=self,  # type: ignore[arg-type]  # one of both
            plugins=() if adapter is None else (adapter,),
            knowledge=self.knowledge,
        )
        session._handle.release = share_store(store)  # which stays open for a turn that is under way when the agent is closed
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


@checked_class
class Agent(BaseAgent):
    """A model that follows instructions, calls tools, and remembers.

    model: a registered name, an instance, or None for $SESSILE_MODEL, else the embedded one. tools: plain functions.
    memory: {"session_id": …}, a `MemoryConfig`; without a session id the conversation ends with the process.
    db: a store's URL, or an object with hooks such as `on_user_message` that does the storing itself.
    window, budget: at most so many messages and tokens of history are sent (None: the model's own, else 50 and 8,000).
    max_steps: how often the model may call tools in one turn. options: what the model is given with each request,
    such as {"temperature": 0}. session: the session it speaks in; None opens one as `memory` and `db` say, which `close`,
    or the end of `with`, closes.
    """

    _awaits = False
    if TYPE_CHECKING:

        def __init__(
            self,
            name: str = ...,
            instructions: str = ...,
            *,
            memory: Any = ...,
            knowledge: Any = ...,
            db: Any = ...,
            session: Blocks | None = ...,
            **options: Unpack[AgentOptions],
        ) -> None: ...

    def chat(self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None) -> str:
        """Say something and return the reply. session_id: speak in another session than the agent's own.

        metadata: JSON values that are stored with the message. Raises what `Session.chat` raises, and `Closed` for an agent that
        was closed.
        """
        with self._speaking_in(session_id) as session:
            return str(session.chat(message, agent=self, **_given(metadata)))

    start = chat

    def stream(
        self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> Iterator[str]:
        """Say something and get the reply in pieces as they arrive."""
        with self._speaking_in(session_id) as session:
            pieces: Iterator[str] = session.stream(message, agent=self, **_given(metadata))  # what is wrong with it is said now
        return pieces if self._is_own(session_id) else self._pieces_of(session_id, message, metadata)

    def _pieces_of(self, session_id: str | None, message: JSON, metadata: Mapping[str, JSON] | None) -> Iterator[str]:
        with self._speaking_in(session_id) as session:
            yield from session.stream(message, agent=self, **_given(metadata))

    def close(self) -> None:
        """Close the sessions that it has opened, and their store; the session that it was made in stays open.

        Those that other threads speak in are closed when these are done. A thousand are kept open at most: the least recently
        used is closed by itself.
        """
        self.closed = True
        if self._owns and self._session is not None:
            self._session.close()
        self._others.forget_all()
        self._let_go()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@checked_class
class AsyncAgent(BaseAgent):
    """An `Agent` whose methods are awaited, and which speaks in `AsyncSession`s: `await agent.chat("Hello")`."""

    _awaits = True
    if TYPE_CHECKING:

        def __init__(
            self,
            name: str = ...,
            instructions: str = ...,
            *,
            memory: Any = ...,
            knowledge: Any = ...,
            db: Any = ...,
            session: Awaits | None = ...,
            **options: Unpack[AgentOptions],
        ) -> None: ...

    async def chat(self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None) -> str:
        """See `Agent.chat`."""
        try:
            with self._speaking_in(session_id) as session:
                return str(await session.chat(message, agent=self, **_given(metadata)))
        finally:
            await self._close_unused()

    start = chat

    def stream(
        self, message: JSON, *, session_id: str | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> AsyncIterator[str]:
        """Say something and get the reply in pieces as they arrive."""
        with self._speaking_in(session_id) as session:
            pieces: AsyncIterator[str] = session.stream(
                message, agent=self, **_given(metadata)
            )  # what is wrong with it is said now
        return pieces if self._is_own(session_id) else self._pieces_of(session_id, message, metadata)

    async def _pieces_of(self, session_id: str | None, message: JSON, metadata: Mapping[str, JSON] | None) -> AsyncIterator[str]:
        try:
            with self._speaking_in(session_id) as session:
                async with aclosing(session.stream(message, agent=self, **_given(metadata))) as pieces:
                    async for piece in pieces:
                        yield piece
        finally:
            await self._close_unused()

    def _close_session(self, session: Any) -> None:
        self._unused.append(session)

    async def _close_unused(self) -> None:
        while self._unused:
            session = self._unused.pop()
            try:
                await session.close()
            except Exception as error:  # it is not the one that is spoken in
                logger.error(
                    "closing session %r, which was not used any more, failed: %s", session.session_id, error, exc_info=error
                )

    async def close(self) -> None:
        """See `Agent.close`."""
        self.closed = True
        if self._owns and self._session is not None:
            await self._session.close()
        self._others.forget_all()
        await self._close_unused()
        await Awaiting().call(self._let_go)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


AnyAgent = Annotated[Agent | AsyncAgent, Check(lambda value: isinstance(value, BaseAgent), "an Agent")]


def _given(metadata: Mapping[str, JSON] | None) -> dict[str, Any]:
    """The keyword for metadata where there is some: a subclass's `chat` may not have it."""
    return {} if metadata is None else {"metadata": metadata}
