"""What both faces of a session share: how one is made, and what is known without asking the store."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Literal, TypedDict, TypeVar

from sessile.drive.arguments import Count, Duration, Positive, Seconds, checked_class
from sessile.drive.background import running_loop
from sessile.drive.faces import Face
from sessile.drive.shown import shorten
from sessile.engine.handle import Handle
from sessile.errors import AgentNotFound, InvalidArgument, InvalidInput
from sessile.log.encoding import json_value
from sessile.log.header import DEFAULT_USER
from sessile.log.ids import check_id, new_id
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import with_extra, with_services
from sessile.plugins.middleware import Middleware, check
from sessile.plugins.registry import refuse_untaken
from sessile.session.agents.agent import AnyAgent
from sessile.session.agents.base import BaseAgent
from sessile.session.agents.config import adapter_of, option_of_session
from sessile.session.holding import HoldsServices
from sessile.session.live.exclusive import Lease
from sessile.session.live.remote import Elsewhere, RemoteHandle
from sessile.store.opening import StoreLike, find_store, share_store
from sessile.transfer import saving

B = TypeVar("B", bound="BaseSession")
OnConflict = Literal["rebase", "raise"]


class SessionOptions(TypedDict, total=False):
    """The keywords of `Session` that do not say which session it is, what is stored of it, or where it is kept."""

    app: str | None
    agent: AnyAgent | None
    agents: Mapping[str, AnyAgent] | None
    memory: Any
    persist_memory: bool
    knowledge: Any
    middleware: Sequence[Middleware]
    plugins: Sequence[object] | Plugins
    agent_url: str | None
    timeout: Seconds
    headers: Mapping[str, str] | None
    strict: bool
    on_conflict: OnConflict
    checkpoint_interval: Count
    checkpoint_keep: Positive


class OpeningOptions(SessionOptions, total=False):
    """All keywords of `Session`."""

    session_id: str | None
    user_id: str | None
    store: StoreLike
    backend: str | None
    db: Any
    metadata: Mapping[str, Any] | None


@checked_class
class BaseSession(HoldsServices):
    """See `Session`."""

    _face: Callable[[], Face]
    _awaits: bool
    _agent_kind: type[BaseAgent[Any]]
    _names: Mapping[Callable[..., Any], str]  # of the verbs
    _plain: type[BaseSession]  # the face itself, of which users may have a subclass
    _other: Callable[[BaseSession], BaseSession]  # makes a view of a session in the other face (see `views.py`)
    _owner: BaseSession  # the user's own, of which this may be a view
    _view: BaseSession | None

    def __init__(
        self,
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        app: str | None = None,
        store: StoreLike = None,
        backend: str | None = None,
        agent: AnyAgent | None = None,
        agents: Mapping[str, AnyAgent] | None = None,
        memory: Any = None,
        persist_memory: bool = False,
        knowledge: Any = None,
        middleware: Sequence[Middleware] = (),
        plugins: Sequence[object] | Plugins = (),
        db: Any = None,
        metadata: Mapping[str, Any] | None = None,
        agent_url: str | None = None,
        timeout: Seconds = 30,
        headers: Mapping[str, str] | None = None,
        strict: bool = False,
        on_conflict: OnConflict = "rebase",
        checkpoint_interval: Count = 0,
        checkpoint_keep: Positive = 20,
    ) -> None:
        store, adapters = _store_or_adapters(store, db)
        active = with_extra(adapters, with_extra(plugins), option="db")
        memory = option_of_session(memory, agent, persist_memory)
        remembers = "persist_memory" if persist_memory else "memory"
        refuse_untaken(active.registry, **{"agent_url": agent_url, remembers: memory, "knowledge": knowledge})
        _check_knowledge(knowledge, (agent, *(agents or {}).values()))
        if headers is not None:
            raise InvalidInput("headers are sent to an agent_url, and none is given: leave headers out")
        session_id = new_id() if session_id is None else check_id(session_id)
        user_id = None if user_id is None else check_id(user_id, "user id")
        app = None if app is None else check_id(app, "name of an application")
        about = json_value(dict(metadata or {}), "metadata")
        layers = [check(layer) for layer in middleware]
        found, release = find_store(store, backend, active)
        face = type(self)._face()
        self._store = found
        self._handle = Handle(
            face,
            face.native(found),
            session_id,
            user_id=user_id,
            app=app,
            plugins=with_services(active, memory=memory, knowledge=knowledge),
            metadata=about,
            middleware=layers,
            strict=strict,
            on_conflict=on_conflict,
            timeout=timeout,
            checkpoint_interval=checkpoint_interval,
            checkpoint_keep=checkpoint_keep,
            options={"memory": memory, "knowledge": knowledge},
        )
        self._handle.session, self._handle.adopt = self, self._another
        self._handle.release = release
        for one in (agent, *(agents or {}).values()):
            self._check_agent(one)
        self._agent: Any = agent
        self.agents: Any = dict(agents or {})
        self._owner, self._view = self, None
        self._begin()

    def _begin(self) -> None:
        """What a face does at once: the blocking one looks whose session it is, and makes its services."""

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._handle.session_id

    @property
    def user_id(self) -> str:
        """The id of the session's user. Before an `AsyncSession` is open: the `user_id` it was given, else "default_user"."""
        header = self._handle.seen
        return header.user_id if header else self._handle.user_id or DEFAULT_USER

    @property
    def app(self) -> str:
        """The session's application; "" for none. Before an `AsyncSession` is open: the `app` it was given."""
        header = self._handle.seen
        return header.app if header else self._handle.app or ""

    @property
    def store(self) -> Any:
        """The store instance."""
        return self._store

    @property
    def plugins(self) -> Plugins:
        """The plugins that are active in this session: the installed ones, and its own."""
        return self._handle.plugins

    @property
    def closed(self) -> bool:
        """Was it closed?"""
        return self._handle.closed

    @property
    def agent(self) -> AnyAgent:
        """The agent `chat` speaks with: the one given, the first of `agents`, else a plain assistant."""
        if self._agent is None:
            with self._handle.lock:
                if self._agent is None:
                    self._agent = next(iter(self.agents.values()), None) or self._default_agent()
        agent: AnyAgent = self._agent
        return agent

    @agent.setter
    def agent(self, agent: AnyAgent) -> None:
        self._check_agent(agent)
        self._agent = agent

    def _default_agent(self) -> BaseAgent[Any]:
        return self._owner._agent_kind(session=self._owner)

    def _check_agent(self, agent: BaseAgent[Any] | None) -> None:
        """`InvalidInput` for one that is awaited, in a blocking session."""
        if agent is not None and agent._awaits and not self._awaits:
            raise InvalidInput(
                f"agent is {agent!r}, which is awaited, and this session is not: pass an Agent, or use an AsyncSession"
            )

    def _agent_named(self, name: str) -> Any:
        if name not in self.agents:
            there = ", ".join(map(repr, self.agents)) or "none"
            raise AgentNotFound(f"there is no agent {name!r} in this session: pass the name of one that is in agents ({there})")
        return self.agents[name]

    def _speaks_here(self, agent: BaseAgent[Any]) -> None:
        """Take an agent that was made in this session among its agents; the first becomes the session's."""
        self.agents.setdefault(agent.name, agent)
        if self._agent is None:
            self._agent = agent

    @classmethod
    def verbs(cls) -> tuple[str, ...]:
        """The names of all that `perform` does: methods and properties of a session that may be called from elsewhere."""
        return tuple(sorted({*cls._names.values()}))

    def perform(self, verb: str, arguments: Mapping[str, Any] | None = None) -> Any:
        """Do a verb by its name: `session.perform("add_message", {"role": "user", "content": "Hello"})` is `add_message(…)`.

        For servers, and others that are told what to do. Returns what the verb returns, in an `AsyncSession` to be awaited.
        `InvalidArgument` for what is no verb (`verbs()` has them all), or an argument that it does not take.
        """
        if verb not in self.verbs():
            near = get_close_matches(verb, self.verbs(), 1)
            hint = f"did you mean {near[0]!r}?" if near else "see verbs()"
            raise InvalidArgument(f"perform: verb is {shorten(verb)}, and a session has none of this name: {hint}")
        found: Any = getattr(type(self), verb)
        if not isinstance(found, property):
            return found(self, **(arguments or {}))
        if arguments:
            raise InvalidArgument(f"perform: arguments is {shorten(arguments)}, and {verb!r} takes none: leave it out")
        return found.fget(self)  # type: ignore[misc]

    @classmethod
    def over(cls: type[B], remote: RemoteHandle) -> B:
        """The session that a handle reaches elsewhere: all `verbs()` are sent to it. See `sessile.RemoteHandle`.

        What is no verb (streaming, watching, exclusive use, services) raises `InvalidInput`.
        """
        session: Any = object.__new__(cls)
        session._handle = handle = Elsewhere(cls._face(), remote, cls._names)
        session._agent, session.agents, session._store = None, {}, None
        session._owner, session._view, handle.session = session, None, session
        return session  # type: ignore[no-any-return]

    def spawn(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a function behind the turns of this session: `session.spawn(learn, turn.id)` returns at once.

        function: blocking or `async def`. Jobs are done one after the other, in a thread of the session's own, or as a task of
        the event loop, each in the context of whoever has spawned it. Closing the session, and the end of the process, wait for
        them, `timeout` seconds at most; a job that closes the session ends those behind it. What one raises is logged. Jobs are
        lost with the process, and in an `AsyncSession` with the event loop. `Closed` for a closed session; `InvalidInput` in an
        `AsyncSession` where no event loop runs.
        """
        from sessile.session.live.behind import Behind

        owner = self._owner._handle
        owner.check_open()
        loop = running_loop() or getattr(self._handle.face, "loop", None) if owner.face.awaits else None
        if owner.face.awaits and (loop is None or not loop.is_running()):
            raise InvalidInput("spawn was called without an event loop, in which an AsyncSession's work is done: call it in one")
        with owner.lock:
            behind = owner.behind = owner.behind or Behind(owner)
        behind.add(function, functools.partial(function, *args, **kwargs), loop)

    def exclusive(self, timeout: Duration = 30, *, lease: Duration = 30) -> Lease:
        """Exclusive use of the session, by this handle only: `with session.exclusive(timeout=10): …` (or `async with`).

        Tasks and threads that share the handle have it one after the other; `InvalidInput` where one asks for it twice.
        timeout: seconds to wait for it, then `LockTimeout`. lease: seconds that it lasts unless it is renewed: after that a
        commit raises `LeaseLost`, and others may have it. Others' commits wait meanwhile.
        """
        return Lease(self._handle, timeout, lease)

    @classmethod
    def from_dict(cls: type[B], data: dict[str, Any], **options: Any) -> B:
        """The session in what `to_dict` returned, in a memory store of its own. `InvalidInput` for anything else."""
        header, held = saving.from_dict(data)
        if header.hidden:  # as a document store may hold it
            return cls(store=held, **options)._handle.sibling(header).session  # type: ignore[no-any-return]
        return cls(session_id=header.session_id, user_id=header.user_id, store=held, **options)

    def _another(self, handle: Handle) -> None:
        """Make the session of a sibling of this one's handle, with this one's agents: what `fork` and `merge` return."""
        session = object.__new__(self._plain)  # a subclass may be made in ways unknown here
        session._handle, session._agent, session.agents = handle, self._agent, dict(self.agents)
        handle.session, handle.adopt, session._store = session, session._another, self._store
        session._owner, session._view = session, None
        handle.release = share_store(self._store)

    def _seen_by(self, asynchronous: bool) -> BaseSession:
        """This session for code that awaits (an `AsyncSession`), or for code that does not (a `Session`)."""
        if self._handle.face.awaits is asynchronous:
            return self
        owner = self._owner
        if owner._handle.face.awaits is asynchronous:
            return owner
        if owner._view is None:
            owner._view = owner._other(owner)
        view: Any = owner._view
        if not asynchronous and (loop := running_loop()) is not None:
            view._handle.face.loop = loop  # what a blocking view awaits belongs to the loop of its user
        return owner._view

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.session_id!r}, user_id={self.user_id!r})"


def _store_or_adapters(store: Any, db: Any) -> tuple[Any, tuple[object, ...]]:
    """Where a session is kept, and the plugins that `db` is, which is a store or an object with hooks."""
    if db is None:
        return store, ()
    adapter = adapter_of(db)
    if adapter is not None:
        return store, (adapter,)
    if store is not None:
        raise InvalidInput("store and db both say where the session is kept: pass one of them")
    return db, ()


def _check_knowledge(knowledge: Any, agents: Iterable[Any]) -> None:
    """Refuse an agent's own knowledge, which nobody would look at."""
    for agent in agents:
        given = getattr(agent, "knowledge", None)
        if given is not None and given is not knowledge:
            raise InvalidInput("knowledge is the session's where an agent speaks in one: pass it to the Session")
