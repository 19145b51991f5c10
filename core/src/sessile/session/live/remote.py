"""A session that is elsewhere: each of its verbs is sent by its name, with its arguments, to where the session is.

What sends it is a `RemoteHandle`, of a plugin. What receives it calls `session.perform` there.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Protocol, runtime_checkable

from sessile.drive.faces import Face
from sessile.drive.locks import new_lock
from sessile.errors import Closed, InvalidInput
from sessile.plugins.discovery import installed


@runtime_checkable
class RemoteHandle(Protocol):
    """How a session elsewhere is reached: what a plugin brings, and `Session.over` and `AsyncSession.over` take.

    session_id, user_id: whose verbs these are. perform: does one, such as ("add_message", {"role": "user", "content": "Hello"}),
    and returns what it returned there: a `Message`, `Entry`, or JSON values; for a verb that makes another session, such as
    "fork", a handle of that. It may be an async function. What it raises, the caller gets.
    """

    @property
    def session_id(self) -> str: ...

    @property
    def user_id(self) -> str: ...

    def perform(self, verb: str, arguments: Mapping[str, Any]) -> Any: ...


class Elsewhere:
    """A remote handle as a session has it in place of a `Handle`."""

    seen = None
    options: dict[str, Any] = {}  # noqa: RUF012 - nobody adds to it

    def __init__(self, face: Face, remote: RemoteHandle, names: Mapping[Callable[..., Any], str]) -> None:
        self.face = face
        self.remote = remote
        self.names = names  # of the verbs
        self.lock = new_lock()
        self.closed = False
        self.session: Any = None
        self.plugins = installed()

    @property
    def session_id(self) -> str:
        return self.remote.session_id

    @property
    def user_id(self) -> str:
        return self.remote.user_id

    async def perform(self, verb: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Send a verb. A handle that comes back, of another session, is made one of those."""
        if verb not in self.names:  # one that writes files, or calls plugins' hooks
            raise self._not_from_here()
        name = self.names[verb]
        if self.closed and name == "close":
            return None
        if self.closed:
            raise Closed(f"session {self.session_id!r} is closed: open it again")
        known = getattr(getattr(type(self.session), name), "verb", verb)  # of `session.state = …`, that is `set_state`
        result = await self.face.call(self.remote.perform, name, named(known, args, kwargs))
        if name == "close":
            self.closed = True
        if name in ("state", "metadata"):  # a dict that nobody could commit to, so that it must not look as if
            return MappingProxyType(result)
        return self._another(result) if isinstance(result, RemoteHandle) else result

    def _another(self, remote: RemoteHandle) -> Elsewhere:
        return type(self.session).over(remote)._handle  # type: ignore[no-any-return]

    async def open(self) -> None:
        """There is nothing to load."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "remote":  # as while it is copied
            raise AttributeError(name)
        raise self._not_from_here()

    def _not_from_here(self) -> InvalidInput:
        return InvalidInput(
            f"session {self.session_id!r} is elsewhere: it cannot be streamed, watched, used exclusively, given services "
            "or asked for its app from here: use its verbs()"
        )


def named(verb: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """A verb's arguments by their names; further keywords as they are."""
    bound = inspect.signature(verb).bind(None, *args, **kwargs)
    arguments: dict[str, Any] = {}
    for name, value in [*bound.arguments.items()][1:]:
        kind = bound.signature.parameters[name].kind
        arguments.update(value if kind is inspect.Parameter.VAR_KEYWORD else {name: value})
    return arguments
