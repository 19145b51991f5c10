"""`AsyncSession`: the async face. The same verbs, awaited."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from sessile.conversation.messages import Message, message
from sessile.drive.arguments import Arguments, Seconds, checked_class
from sessile.drive.background import running_loop
from sessile.drive.faces import Awaiting, HasHandle
from sessile.engine import history, lifecycle, state, turns, write_through
from sessile.engine.handle import Handle
from sessile.engine.services import open_with_services
from sessile.errors import InvalidInput
from sessile.graph import changes as following
from sessile.graph import checkpoints as marks
from sessile.graph import forks, integrity, merging, points, replacing
from sessile.graph import snapshots as graph
from sessile.log.encoding import JSON
from sessile.session.agents.agent import AnyAgent, AsyncAgent
from sessile.session.agents.base import AgentOptions
from sessile.session.base import BaseSession
from sessile.session.live import streaming, watching
from sessile.session.loading import Load
from sessile.session.methods import Reading, as_method, names_of_verbs, sessions_of
from sessile.transfer import archives, saving

if TYPE_CHECKING:
    from sessile.session.blocking import Session

T = TypeVar("T")
P = ParamSpec("P")


def awaited(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """A verb of the engine as an async method of `AsyncSession`. Its arguments are checked."""
    check = Arguments(verb, skip=1)

    @functools.wraps(verb)
    async def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        check(args, kwargs)
        result: T = await self._handle.perform(verb, args, kwargs)
        return result

    as_method(method, verb)
    return method


def opening(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, Handle]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, AsyncSession]]:
    """As `awaited`, for a verb that opens a session: the method returns that instead of its handle."""
    return _opening(verb)


def opening_if_there(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, Handle | None]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, AsyncSession | None]]:
    """As `opening`, for a verb that may find none."""
    return _opening(verb)


def opening_each(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, list[Handle]]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, list[AsyncSession]]]:
    """As `opening`, for a verb that opens several."""
    return _opening(verb)


def _opening(verb: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    method = awaited(verb)

    @functools.wraps(verb)
    async def opened(self: Any, /, *args: Any, **kwargs: Any) -> Any:
        return sessions_of(await method(self, *args, **kwargs), self._opened)

    as_method(opened, verb, Handle="AsyncSession")
    return opened


@checked_class
class AsyncSession(BaseSession):
    """A `Session` whose methods are awaited, and whose properties that read the store too: `await session.messages`.

    Blocking stores, models, tools and hooks run in worker threads; async ones are awaited. Another user's session is
    refused at the first use, or by `async with`. `blocking` is the session for code that cannot await.
    """

    _face = Awaiting
    _awaits = True
    _agent_kind = AsyncAgent
    if TYPE_CHECKING:
        agent: AnyAgent
        agents: dict[str, AnyAgent]

    @classmethod
    def _opened(cls, handle: Handle) -> AsyncSession:
        """The session of a handle that a verb has made."""
        session: AsyncSession = handle.session
        return session

    # messages
    add_message = awaited(history.add_message)
    add_messages = awaited(history.add_messages)
    get_history = awaited(history.get_history)
    set_history = awaited(replacing.set_history)
    message = awaited(points.message)
    pop = awaited(replacing.pop)
    replace_tail = awaited(replacing.replace_tail)
    clear = awaited(replacing.clear)
    messages = Reading(awaited(history.get_messages))
    message_count = Reading(awaited(history.message_count))
    usage = awaited(history.usage)
    to_openai = awaited(history.to_openai)

    # all at once, and entries of plugins' own
    commit = awaited(history.commit)
    append = awaited(history.append)
    entries = awaited(history.entries)
    version = Reading(awaited(history.version))

    # turns
    chat = awaited(turns.chat)

    def stream(
        self, content: JSON, *, agent: AnyAgent | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> AsyncIterator[str]:
        """As `chat`, but the reply comes in pieces as they arrive: `async for`. Leaving the loop ends the turn."""
        return streaming.astream(self._handle, message("user", content, metadata), agent=agent)

    async def run_agent(self, name: str, content: JSON, *, metadata: Mapping[str, JSON] | None = None) -> str:
        """`chat` with one of `agents` by its name. `AgentNotFound` where there is none."""
        return await self.chat(content, agent=self._agent_named(name), metadata=metadata)

    def Agent(self, name: str = "Assistant", instructions: str = "", **options: Unpack[AgentOptions]) -> AsyncAgent:
        """An agent that speaks in this session; the options of `sessile.AsyncAgent`. The first one becomes the session's."""
        made = AsyncAgent(name, instructions, session=self, **options)
        self._speaks_here(made)
        return made

    # state
    get_state = awaited(state.get_state)
    set_state = awaited(state.set_state)
    delete_state = awaited(state.delete_state)
    update_state = awaited(state.update_state)
    increment_state = awaited(state.increment_state)
    save_state = awaited(state.save_state)
    restore_state = awaited(state.restore_state)
    update_preference = awaited(state.update_preference)
    get_preference = awaited(state.get_preference)
    get_preferences = awaited(state.get_preferences)
    state = Reading(awaited(write_through.get_state), write_through.refuse_state)

    def watch(self, timeout: Seconds | None = None) -> AsyncIterator[Message]:
        """The messages that anybody adds after what this session has read, until nothing was said for `timeout` seconds.

        None: for ever. A message within a second of its commit. Closing the session ends it, too. A session that was not
        read yet, nor opened by `async with`, is watched from the first step of the loop.
        """
        return watching.awatch(self._handle, timeout)

    # the session itself
    exists = awaited(lifecycle.exists)
    create = awaited(lifecycle.create)
    metadata = Reading(awaited(write_through.get_metadata), write_through.refuse_metadata)
    set_metadata = awaited(lifecycle.set_metadata)
    update_metadata = awaited(lifecycle.update_metadata)
    title = Reading(awaited(lifecycle.get_title), write_through.refuse_title)
    set_title = awaited(lifecycle.set_title)
    status = Reading(awaited(lifecycle.get_status))
    created_at = Reading(awaited(lifecycle.created_at))
    updated_at = Reading(awaited(lifecycle.updated_at))
    get_duration = awaited(lifecycle.get_duration)
    get_context = awaited(lifecycle.get_context)
    extract_topics = awaited(lifecycle.extract_topics)
    archive = awaited(lifecycle.archive)
    delete = awaited(lifecycle.delete)
    hook = awaited(lifecycle.hook)
    close = awaited(lifecycle.close)

    # the session as a graph
    snapshot = awaited(graph.snapshot)
    snapshots = awaited(points.snapshots)
    revert = awaited(graph.revert)
    undo = awaited(graph.undo)
    redo = awaited(graph.redo)
    fork = opening(forks.fork)
    edit = opening(forks.edit)
    regenerate = opening(forks.regenerate)
    parent = Reading(awaited(forks.parent))
    children = awaited(forks.children)
    tree = awaited(forks.tree)
    merge = opening(merging.merge)
    diff = awaited(merging.diff)
    verify = awaited(integrity.verify)
    changes = awaited(following.changes)
    read = awaited(following.read)
    create_checkpoint = awaited(marks.create_checkpoint)
    restore_checkpoint = awaited(marks.restore_checkpoint)
    checkpoints = awaited(marks.checkpoints)
    save_version = awaited(marks.save_version)
    restore_version = awaited(marks.restore_version)
    list_versions = awaited(marks.list_versions)
    merge_sessions = opening(marks.merge_sessions)

    # files
    save = awaited(saving.save)
    export = awaited(archives.export)
    load: Load[Coroutine[Any, Any, AsyncSession]] = Load(lambda loading: loading)  # to be awaited
    to_dict = awaited(saving.to_dict)

    @property
    def blocking(self) -> Session:
        """The same session for code without an event loop, such as an `atexit` function: `session.blocking.close()`.

        `InvalidInput` where an event loop runs, which every verb of it would hold up.
        """
        if running_loop() is not None:
            raise InvalidInput("an event loop runs here, which a blocking session holds up: await this one's methods")
        found: Any = self._seen_by(False)
        return found  # type: ignore[no-any-return]

    async def __aenter__(self) -> Self:
        """The session, opened; a session that cannot be opened is closed."""
        try:
            await open_with_services(self._handle)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()


AsyncSession._plain, AsyncSession._names = AsyncSession, names_of_verbs(AsyncSession)
