"""The agent: a model with a name, instructions and tools, and the session it speaks in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import attrs

from sessile.encoding import JSON
from sessile.errors import InvalidInput
from sessile.memory_store import MemorySessionStore
from sessile.model import find_model
from sessile.plugins import Plugins
from sessile.store import is_store
from sessile.tools import Tool, named


@attrs.frozen(kw_only=True)
class MemoryConfig:
    """What an agent remembers, and where: `Agent(memory=MemoryConfig(session_id="user-123"))`.

    session_id: None keeps the conversation in this process only. db: a store's URL. backend: a registered store's
    name, which then lies in its usual place. auto_memory: kept for a memory plugin, which reads it.
    """

    session_id: str | None = None
    user_id: str | None = None
    db: str | None = None
    backend: str | None = None
    auto_memory: bool = False

    @classmethod
    def of(cls, memory: Any) -> MemoryConfig:
        """The configuration in `memory=`: None, a bool, a dict of these fields, or one of these as it is."""
        if isinstance(memory, Mapping):
            known = {field.name for field in attrs.fields(cls)}
            return cls(**{name: value for name, value in memory.items() if name in known})
        return memory if isinstance(memory, cls) else cls()


class Agent:
    """A model that follows instructions, calls tools, and remembers.

    model: a registered name, an instance, or None for $SESSILE_MODEL, else the embedded one. tools: plain functions.
    memory: {"session_id": …}, a `MemoryConfig`; without a session id the conversation ends with the process.
    db: a store's URL, or an object with hooks such as `on_user_message` that does the storing itself.
    window, budget: at most so many messages and tokens of history are sent (None: the model's own, else 50 and 8,000).
    max_steps: how often the model may call tools in one turn. session: the options of the session it makes for itself.
    Further options (temperature=…) are handed to the model.
    """

    def __init__(
        self,
        name: str = "Assistant",
        instructions: str = "",
        *,
        model: Any = None,
        tools: Iterable[Callable[..., Any] | Tool] = (),
        memory: Any = None,
        knowledge: Any = None,
        db: Any = None,
        window: int | None = None,
        budget: int | None = None,
        max_steps: int = 8,
        session: Any = None,
        **options: JSON,
    ) -> None:
        if not isinstance(name, str) or not name:
            raise InvalidInput(f"an agent's name is a non-empty string, not {name!r}")
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
        self.options = options
        self.context: Any = None  # for callers to hang on what their own middleware reads
        self._session = session
        self._others: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"Agent({self.name!r})"

    def find_model(self, plugins: Plugins) -> Any:
        """The model instance this agent speaks with."""
        return find_model(self.model, plugins)

    @property
    def session(self) -> Any:
        """The session this agent speaks in: the one it was made in, else one of its own, opened when first needed."""
        if self._session is None:
            self._session = self._open_session(MemoryConfig.of(self.memory).session_id)
        return self._session

    def _open_session(self, session_id: str | None) -> Any:
        from sessile.session import Session

        config = MemoryConfig.of(self.memory)
        adapter = None if self.db is None or isinstance(self.db, str) or is_store(self.db) else self.db
        store: Any = config.db or (self.db if adapter is None else None)
        if store is None and config.backend is None and (session_id is None or adapter is not None):
            store = MemorySessionStore()  # nothing to remember it by, or the adapter remembers
        return Session(
            session_id,
            user_id=config.user_id,
            store=store,
            backend=config.backend,
            agent=self,
            plugins=() if adapter is None else (adapter,),
        )

    def chat(self, message: JSON, *, session_id: str | None = None, **metadata: JSON) -> Any:
        """Say something and return the reply. session_id: speak in another session than the agent's own.

        In an `AsyncSession` the result is to be awaited. Raises what `Session.chat` raises.
        """
        return self._in(session_id).chat(message, agent=self, **metadata)

    start = chat

    def stream(self, message: JSON, *, session_id: str | None = None, **metadata: JSON) -> Iterator[str]:
        """Say something and get the reply in pieces as they arrive."""
        pieces: Iterator[str] = self._in(session_id).stream(message, agent=self, **metadata)
        return pieces

    def _in(self, session_id: str | None) -> Any:
        if session_id is None or (self._session is not None and session_id == self._session.session_id):
            return self.session
        if session_id not in self._others:
            self._others[session_id] = self._open_session(session_id)
        return self._others[session_id]


@attrs.frozen
class Result:
    """What `Runner` returns: `final_output` is the reply's text, `messages` the whole conversation."""

    final_output: str
    messages: list[Any]


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
