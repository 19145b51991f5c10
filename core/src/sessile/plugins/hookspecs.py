"""The hooks: everything a plugin can take part in. This page is the reference; `sessile plugins` shows who takes part.

A plugin implements a hook as a function of the same name marked with `sessile.hookimpl`. The function names just the
arguments it wants (`**arguments` gets all of them), and may be `async def`. A marked function that has no hook's name is
refused. An object given as `plugins=[…]` or `db=…` needs no marks: its methods with a hook's name are taken. The
functions of a module always need them. A plugin that is active already may be given again; it still runs once.

`session` and `turn.session` are what the implementation can use: a `Session` for a blocking function, an `AsyncSession`
for an `async def`, whichever of them the user holds.

Implementations run last registered first; `tryfirst` and `trylast` change that, as in pluggy. With `wrapper=True` the
function is a generator around all the others: it yields once, and the `yield` gives it their results (a list; for
`build_context` the new prompt). What it returns takes the place of them; None leaves them as they are.

An implementation fails where it raises, or returns what the hook cannot have. That never breaks a conversation: it is
logged with the plugin's and the hook's name, and its result is ignored for this call. Under
`strict=True` it is raised as `PluginError` instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import click

    from sessile.conversation.messages import Message
    from sessile.conversation.prompt.context import Room
    from sessile.conversation.taking import MessageLike
    from sessile.conversation.turn import AgentLike, Turn
    from sessile.log.encoding import JSON
    from sessile.plugins.middleware import Middleware
    from sessile.plugins.registry import Registry
    from sessile.session import AsyncSession, Session

hookspec = pluggy.HookspecMarker("sessile")
hookimpl = pluggy.HookimplMarker("sessile")


@hookspec
def register(registry: Registry) -> None:
    """Register stores, models and others by name: `registry.add("store", "mine", "my_package:MyStore")`.

    `registry.kind("reranker")` brings a kind of a plugin's own, and `registry.hooks(module)` the hooks in a module, functions
    marked with `sessile.plugins.hookspec` as these are; `session.hook("name", …)` calls one.

    Runs once, when plugins are discovered. The target is a string and imported on first use only, so that discovering
    a plugin stays fast. An exception disables this plugin, and `sessile plugins` shows it as broken.
    """


@hookspec
def on_agent_start(
    agent: AgentLike, agent_name: str, session: Session | AsyncSession, session_id: str, user_id: str, metadata: dict[str, JSON]
) -> list[MessageLike] | None:
    """An agent is about to work for the first time in a session as it was opened: once for each `Session(…)`.

    Returns a list of messages to resume with (`Message`s, or dicts with role and content), or None. They are stored as
    the session's history if it has none yet; where several plugins return some, the first one's are taken. Other turns
    wait meanwhile. Where it fails under `strict`, the next turn begins with it again.
    """


@hookspec
def on_user_message(
    session: Session | AsyncSession, session_id: str, message: Message, content: JSON, metadata: dict[str, JSON]
) -> None:
    """A user's message was stored. Runs after the commit, before the model is asked; the result is ignored.

    It is not called for messages that `set_history`, `load`, `merge` or an import add.
    """


@hookspec
def on_agent_message(
    session: Session | AsyncSession, session_id: str, message: Message, content: JSON, metadata: dict[str, JSON]
) -> None:
    """An assistant's message (a reply, or its tool calls) was stored. Runs after the commit; the result is ignored.

    It is not called for messages that `set_history`, `load`, `merge` or an import add.
    """


@hookspec
def on_turn_error(session: Session | AsyncSession, session_id: str, turn: Turn, error: BaseException) -> None:
    """A turn ended in an exception, which is raised to the caller afterwards; the result is ignored.

    The user's message is stored, and what a model had streamed is kept as an interrupted reply.
    """


@hookspec
def want_snapshot(session: Session | AsyncSession, session_id: str, turn: Turn) -> str | None:
    """A turn is complete and stored: returns the label of a snapshot to make of this point, or None for none."""


@hookspec
def recall(session: Session | AsyncSession, turn: Turn, room: Room) -> list[MessageLike] | None:
    """Bring what the turn should be answered with: memories, passages of documents. Runs once a turn, before the model is asked;
    again where a middleware has changed the question, or who answers it.

    Returns a list of messages (`Message`s, or dicts with role and content), best first, or None. They come behind the
    instructions and before the history, are counted first, and are not stored: `room.tokens` is what the prompt has left for them
    (`room.count(message)` says what one takes), and history fills the rest. What does not fit is left out from the end on.
    Where several plugins bring something, each is offered what those before it have left. Calls, and results of tools, are
    refused.
    """


@hookspec
def build_context(session: Session | AsyncSession, turn: Turn, messages: list[Message]) -> list[MessageLike] | None:
    """Change what the model is sent: trim it, add memories, knowledge, a profile.

    `messages` is the prompt so far: instructions, history within the window, and the user's message last. Each
    implementation gets a list of its own. Returns the new prompt (a list of `Message`s or dicts, not empty), which the
    next implementation gets in its turn, or None to leave the prompt as it is.
    """


@hookspec
def middleware(session: Session | AsyncSession) -> Middleware | Sequence[Middleware] | None:
    """Middleware to put around every turn of a session: one, or a list of them, outermost first, or None.

    Runs once for each session handle, before its first turn. These stand outside of the session's own `middleware=[…]`.
    """


@hookspec
def save_state(session: Session | AsyncSession, session_id: str, state: dict[str, JSON]) -> None:
    """`session.save_state()` was called and the state is committed; the result is ignored."""


@hookspec(firstresult=True)
def restore_state(session: Session | AsyncSession, session_id: str) -> dict[str, JSON] | None:
    """`session.restore_state()` was called: returns the state to use instead of the stored one. The first answer wins."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Add commands to the command line: `cli` is its click group. Runs each time the command line starts."""


@hookspec
def on_session_close(session: Session | AsyncSession, session_id: str) -> None:
    """A session handle is being closed; it can still be read. The result is ignored."""


@hookspec
def on_session_delete(session_id: str, user_id: str, log: str) -> None:
    """A session was deleted, in whatever way, and is gone for everybody: erase what was made of it. The result is ignored.

    `log` is the id of its log, which no other session ever has, in whatever store. Whoever finishes a deletion calls it, so
    that it may be called twice for one session, and for one that another process has deleted. It is not called for what a
    server removes by itself when it expires.
    """


HOOKS = tuple(name for name, value in list(globals().items()) if hasattr(value, "sessile_spec"))
FOLDED = frozenset(["build_context"])  # each implementation gets what the one before returned
