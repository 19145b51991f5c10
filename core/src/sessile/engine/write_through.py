"""What `session.state` and `session.metadata` return: a dict that commits what is assigned to it, or says which verb does.

In a blocking session `session.state["k"] = v` is one commit, `update` and `|=` are one for all their keys. An `AsyncSession`
cannot commit without `await`, so that its dict refuses to be changed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

import attrs

from sessile.drive.faces import run
from sessile.engine import lifecycle
from sessile.engine import state as states
from sessile.engine.handle import Handle
from sessile.errors import InvalidInput, InvalidState, ReadOnly
from sessile.log.encoding import JSON, copied, json_value, same

_MISSING: Any = object()


@attrs.frozen
class _Kind:
    """What a dict holds, and how a change of it is committed: `change` is given the values to set and the keys to remove."""

    name: str
    change: Callable[[Handle, Mapping[str, JSON], Iterable[str]], Awaitable[None]]
    verbs: str
    error: type[InvalidInput] = InvalidInput
    shared: Callable[[str], bool] = lambda key: False


def read_only(name: str, verbs: str) -> ReadOnly:
    """What an `AsyncSession` raises where something is assigned to it."""
    return ReadOnly(f"the {name} of an AsyncSession is not changed in place, but with {verbs}")


class WriteThrough(dict[str, Any]):
    """A session's state or metadata as it was when it was read; assigning to it, or removing from it, commits at once.

    The values in it are plain copies: `session.state["list"].append(1)` changes nothing that is stored; assign the list
    anew, or use `update_state`, which is also safe against what others write meanwhile. `clear` leaves the keys that are
    shared with other sessions ("user:" and "app:"). `copy()`, `|`, `json.dumps` and pickling treat it as a plain dict.
    In an `AsyncSession` every change raises `ReadOnly`.
    """

    __slots__ = ("_handle", "_joined", "_kind")

    def __init__(self, values: Mapping[str, JSON], handle: Handle, kind: _Kind) -> None:
        super().__init__(values)
        self._handle = handle
        self._kind = kind
        self._joined: tuple[int, JSON] | None = None  # the session's version, and this dict, when `|=` was committed

    def _change(self, values: Mapping[str, JSON], gone: Iterable[str] = ()) -> None:
        kind = self._kind
        if self._handle.face.awaits:
            raise read_only(kind.name, kind.verbs)
        plain = json_value(dict(values), kind.name, kind.error)
        gone = list(gone)
        if plain or gone:
            run(kind.change(self._handle, plain, gone))  # type: ignore[arg-type]
        for key in gone:
            super().pop(key, None)
        super().update(plain)

    def __setitem__(self, key: str, value: JSON) -> None:
        self._change({key: value})

    def __delitem__(self, key: str) -> None:
        self.pop(key)

    def update(self, *values: Any, **more: JSON) -> None:
        """Set several keys in one commit (one more for each shared scope that is among them)."""
        self._change(dict(*values, **more))

    def __ior__(self, values: Any) -> WriteThrough:  # type: ignore[override, misc]
        self.update(values)
        self._joined = _version(self._handle), copied(dict(self))
        return self

    def is_joined(self, h: Handle) -> bool:
        """Did `|=` just commit this dict? Python then assigns it to the property again, which must not commit twice."""
        if self._handle is not h or self._joined is None:
            return False
        version, values = self._joined
        return version == _version(h) and same(dict(self), values)

    def setdefault(self, key: str, default: JSON = None) -> Any:
        """The value of a key, which is set to `default` where there is none."""
        if key not in self:
            self._change({key: default})
        return self[key]

    def pop(self, key: str, default: Any = _MISSING) -> Any:
        """Remove a key and return its value; `default`, or KeyError, where there is none."""
        if key not in self:
            if default is _MISSING:
                raise KeyError(key)
            return default
        value = self[key]
        self._change({}, [key])
        return value

    def popitem(self) -> tuple[str, Any]:
        """Remove the last key and return it with its value; KeyError where there is none."""
        key = next(reversed(self), None)
        if key is None:
            raise KeyError(f"the {self._kind.name} is empty")
        return key, self.pop(key)

    def clear(self) -> None:
        """Remove the session's own keys."""
        self._change({}, [key for key in self if not self._kind.shared(key)])

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _version(h: Handle) -> int:
    return h.seen.version if h.seen is not None else 0


# -- as verbs of a session


async def get_state(h: Handle) -> WriteThrough:
    """All of the state, shared scopes included. See `WriteThrough`."""
    return WriteThrough(await states.get_state(h), h, _STATE)


async def set_state(h: Handle, state: Mapping[str, JSON]) -> None:
    """Make a dict the session's state, as `Session.set_state` does."""
    if not (isinstance(state, WriteThrough) and state.is_joined(h)):
        await states.set_state(h, copied(state))


async def get_metadata(h: Handle) -> WriteThrough:
    """What was said about the session when it was created or since. See `WriteThrough`."""
    return WriteThrough(await lifecycle.get_metadata(h), h, _METADATA)


async def set_metadata(h: Handle, metadata: Mapping[str, JSON]) -> None:
    """Replace the session's metadata."""
    if not (isinstance(metadata, WriteThrough) and metadata.is_joined(h)):
        await lifecycle.set_metadata(h, metadata)


async def _change_state(h: Handle, values: Mapping[str, JSON], gone: Iterable[str]) -> None:
    await states.merge_state(h, {**values, **dict.fromkeys(gone, states.ABSENT)})


_STATE = _Kind(
    "state",
    _change_state,
    "`await session.set_state(key, value)`, `update_state`, `increment_state` or `delete_state`",
    InvalidState,
    states.is_shared,
)
_METADATA = _Kind("metadata", lifecycle.update_metadata, "`await session.update_metadata({key: value})`")


def _refuse(name: str, verbs: str) -> Callable[[Any, Any], None]:
    def refuse(session: Any, value: Any) -> None:
        raise read_only(name, verbs)

    return refuse


# What is done with `session.state = …` where that cannot be awaited.
refuse_state = _refuse(_STATE.name, _STATE.verbs)
refuse_metadata = _refuse(_METADATA.name, _METADATA.verbs)
refuse_title = _refuse("title", "`await session.set_title(title)`")
