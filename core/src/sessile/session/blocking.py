"""`Session`: the blocking face. One line for each verb; what it does is in the module it is taken from."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, Self, TypeVar, Unpack

from sessile.conversation.messages import Message, message
from sessile.drive.arguments import Arguments, Seconds, checked_class
from sessile.drive.faces import Blocking, HasHandle, run
from sessile.engine import history, lifecycle, state, turns, write_through
from sessile.engine.handle import Handle
from sessile.engine.services import close_services, make_services
from sessile.graph import changes as following
from sessile.graph import checkpoints as marks
from sessile.graph import forks, integrity, merging, points, replacing
from sessile.graph import snapshots as graph
from sessile.log.encoding import JSON
from sessile.session.agents.agent import Agent as BlockingAgent
from sessile.session.agents.agent import AnyAgent
from sessile.session.agents.base import AgentOptions
from sessile.session.base import BaseSession
from sessile.session.live import streaming, watching
from sessile.session.loading import Load
from sessile.session.methods import Reading, Setting, as_method, names_of_verbs, sessions_of
from sessile.store.memory import HeldSession
from sessile.transfer import archives, saving

T = TypeVar("T")
P = ParamSpec("P")


def blocking(verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """A verb of the engine (an async function of a handle) as a plain method of `Session`. Its arguments are checked."""
    check = Arguments(verb, skip=1)

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        check(args, kwargs)
        result: T = run(self._handle.perform(verb, args, kwargs))
        return result

    as_method(method, verb)
    return method


def opening(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, Handle]],
) -> Callable[Concatenate[Any, P], Session]:
    """As `blocking`, for a verb that opens a session: the method returns that instead of its handle."""
    return _opening(verb)


def opening_if_there(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, Handle | None]],
) -> Callable[Concatenate[Any, P], Session | None]:
    """As `opening`, for a verb that may find none."""
    return _opening(verb)


def opening_each(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, list[Handle]]],
) -> Callable[Concatenate[Any, P], list[Session]]:
    """As `opening`, for a verb that opens several."""
    return _opening(verb)


def _opening(verb: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
    method = blocking(verb)

    @functools.wraps(verb)
    def opened(self: HasHandle, /, *args: Any, **kwargs: Any) -> Any:
        return sessions_of(method(self, *args, **kwargs), lambda handle: handle.session)

    as_method(opened, verb, Handle="Session")
    return opened


@checked_class
class Session(BaseSession):
    """A durable conversation, in any store, that every process can read.

    session_id: any printable text up to 255 characters; None makes one. user_id: None adopts the stored session's user
    (a new one gets "default_user"); another user's session is refused with `AccessDenied`.
    app: the application that the session belongs to, with which it shares the state under "app:"; None adopts the stored
    session's, another one is refused with `AccessDenied`.
    store: a URL, a store instance, or None for $SESSILE_STORE, else the file store in ~/.sessile/sessions.
    backend: a store by name, in its usual place. agent, agents: who answers `chat`. middleware: around every turn,
    outermost first (see CONTRIBUTING, "How to write a middleware"). plugins, db: more plugins for this session, or (a `Plugins`)
    the whole set. metadata: of a new session.
    timeout: seconds for remote calls, and until a commit that keeps losing to other writers gives up.
    strict: raise what plugins' hooks raise, and `CorruptStore` where what is read was altered in the store.
    on_conflict: "rebase" puts a message behind what others wrote meanwhile. "raise" raises `Conflict` from every verb that
    changes the session, or answers it anew, where others changed it since this handle last read it; `update_state` and
    `increment_state` build on what is there either way.
    checkpoint_interval: make an automatic snapshot after so many turns, counted over all handles (0: never).
    checkpoint_keep: keep the newest automatic snapshots, so many.
    memory: True, a dict or a `Memory`, for the memory plugin. persist_memory: what is said is remembered in it.
    knowledge, agent_url (with headers): for a plugin that takes them; all of these are refused where none does.

    Reading an unknown id leaves no trace: a session is stored with its first message, state or metadata.
    """

    _face = Blocking
    _awaits = False
    _agent_kind = BlockingAgent
    if TYPE_CHECKING:
        agent: BlockingAgent  # as it is read; another kind is refused
        agents: dict[str, BlockingAgent]

    def _begin(self) -> None:
        try:
            run(self._handle.open())
            make_services(self._handle)
        except BaseException:
            run(close_services(self._handle, self._handle.face))
            self._handle.release()
            raise

    # messages
    add_message = blocking(history.add_message)
    add_messages = blocking(history.add_messages)
    get_history = blocking(history.get_history)
    set_history = blocking(replacing.set_history)
    message = blocking(points.message)
    pop = blocking(replacing.pop)
    replace_tail = blocking(replacing.replace_tail)
    clear = blocking(replacing.clear)
    messages = Reading(blocking(history.get_messages))
    message_count = Reading(blocking(history.message_count))
    usage = blocking(history.usage)
    to_openai = blocking(history.to_openai)

    # all at once, and entries of plugins' own
    commit = blocking(history.commit)
    append = blocking(history.append)
    entries = blocking(history.entries)
    version = Reading(blocking(history.version))

    # turns
    chat = blocking(turns.chat)

    def stream(
        self, content: JSON, *, agent: AnyAgent | None = None, metadata: Mapping[str, JSON] | None = None
    ) -> Iterator[str]:
        """As `chat`, but the reply comes in pieces as they arrive. Leaving the loop ends the turn."""
        return streaming.stream(self._handle, message("user", content, metadata), agent=agent)

    def run_agent(self, name: str, content: JSON, *, metadata: Mapping[str, JSON] | None = None) -> str:
        """`chat` with one of `agents` by its name. `AgentNotFound` where there is none."""
        return self.chat(content, agent=self._agent_named(name), metadata=metadata)

    def Agent(self, name: str = "Assistant", instructions: str = "", **options: Unpack[AgentOptions]) -> BlockingAgent:
        """An agent that speaks in this session; the options of `sessile.Agent`. The first one becomes the session's."""
        made = BlockingAgent(name, instructions, session=self, **options)
        self._speaks_here(made)
        return made

    Agent.__annotations__["return"] = "Agent"  # as callers know it

    # state
    get_state = blocking(state.get_state)
    set_state = blocking(state.set_state)
    delete_state = blocking(state.delete_state)
    update_state = blocking(state.update_state)
    increment_state = blocking(state.increment_state)
    save_state = blocking(state.save_state)
    restore_state = blocking(state.restore_state)
    update_preference = blocking(state.update_preference)
    get_preference = blocking(state.get_preference)
    get_preferences = blocking(state.get_preferences)
    state = Setting(blocking(write_through.get_state), blocking(write_through.set_state))

    def watch(self, timeout: Seconds | None = None) -> Iterator[Message]:
        """The messages that anybody adds after what this session has read, until nothing was said for `timeout` seconds.

        None: for ever. A message within a second of its commit. Closing the session ends it, too.
        """
        return watching.watch(self._handle, timeout)

    # the session itself
    exists = blocking(lifecycle.exists)
    create = blocking(lifecycle.create)
    set_metadata = blocking(lifecycle.set_metadata)
    update_metadata = blocking(lifecycle.update_metadata)
    metadata = Setting(blocking(write_through.get_metadata), blocking(write_through.set_metadata))
    set_title = blocking(lifecycle.set_title)
    title = Setting(blocking(lifecycle.get_title), blocking(lifecycle.set_title))
    status = Reading(blocking(lifecycle.get_status))
    created_at = Reading(blocking(lifecycle.created_at))
    updated_at = Reading(blocking(lifecycle.updated_at))
    get_duration = blocking(lifecycle.get_duration)
    get_context = blocking(lifecycle.get_context)
    extract_topics = blocking(lifecycle.extract_topics)
    archive = blocking(lifecycle.archive)
    delete = blocking(lifecycle.delete)
    hook = blocking(lifecycle.hook)
    close = blocking(lifecycle.close)

    # the session as a graph
    snapshot = blocking(graph.snapshot)
    snapshots = blocking(points.snapshots)
    revert = blocking(graph.revert)
    undo = blocking(graph.undo)
    redo = blocking(graph.redo)
    fork = opening(forks.fork)
    edit = opening(forks.edit)
    regenerate = opening(forks.regenerate)
    parent = Reading(blocking(forks.parent))
    children = blocking(forks.children)
    tree = blocking(forks.tree)
    merge = opening(merging.merge)
    diff = blocking(merging.diff)
    verify = blocking(integrity.verify)
    changes = blocking(following.changes)
    read = blocking(following.read)
    create_checkpoint = blocking(marks.create_checkpoint)
    restore_checkpoint = blocking(marks.restore_checkpoint)
    checkpoints = blocking(marks.checkpoints)
    save_version = blocking(marks.save_version)
    restore_version = blocking(marks.restore_version)
    list_versions = blocking(marks.list_versions)
    merge_sessions = opening(marks.merge_sessions)

    # files
    save = blocking(saving.save)
    export = blocking(archives.export)
    load: Load[Session] = Load(run)
    to_dict = blocking(saving.to_dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


Session._plain, Session._names = Session, names_of_verbs(Session)


def session_over(held: HeldSession, session_id: str) -> Session:
    """The session in a store of its own, whatever its status is: what a document store is given to save."""
    header = held.load(session_id)
    assert header is not None
    return Session(store=held)._handle.sibling(header).session  # type: ignore[no-any-return]
