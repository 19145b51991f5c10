"""How a face gets its methods and properties from the engine's verbs, for callers, `help()` and type checkers alike."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, Never, TypeVar, get_args, get_type_hints

T = TypeVar("T", covariant=True)
V = TypeVar("V", contravariant=True)

if TYPE_CHECKING:

    class Reading(Generic[T]):
        """A property, as type checkers see it. refuse: raises what says how it is set."""

        def __init__(self, fget: Callable[[Any], T], refuse: Callable[[Any, Any], object] | None = None) -> None: ...
        def __get__(self, session: object, cls: type | None = None) -> T: ...
        def __set__(self, session: object, value: Never) -> None: ...

    class Setting(Reading[T], Generic[T, V]):
        """A property that can be set."""

        def __init__(self, fget: Callable[[Any], T], fset: Callable[[Any, V], object]) -> None: ...
        def __set__(self, session: object, value: V) -> None: ...

else:
    Reading = Setting = property


def as_method(method: Any, verb: Callable[..., Any], **other: str) -> None:
    """Let a face's method say which verb it is, and have its signature, with `self` for the handle.

    other: names in what it returns, and what the face has instead, such as Handle="Session".
    """
    signature = _signature(verb)
    method.verb = verb
    vars(method).pop("__wrapped__", None)  # else `inspect` takes a blocking method for an async function
    returned = str(signature.return_annotation).replace("builtins.", "")
    for name, instead in other.items():
        returned = re.sub(rf"\b{name}\b", instead, returned)
    method.__signature__ = signature.replace(return_annotation=returned)


@functools.cache
def _signature(verb: Callable[..., Any]) -> inspect.Signature:
    """A verb's signature as a method has it: the same for both faces."""
    signature = inspect.signature(verb)
    handle, *others = signature.parameters.values()
    me = handle.replace(name="self", annotation=inspect.Parameter.empty)
    return signature.replace(parameters=[me, *(each for other in others for each in _unpacked(other, verb))])


class _LeftOut:
    def __repr__(self) -> str:
        return "…"


def _unpacked(parameter: inspect.Parameter, verb: Callable[..., Any]) -> Iterable[inspect.Parameter]:
    """A parameter as callers see it: the keywords by their names where it is `**options: Unpack[…]`."""
    if parameter.kind is not parameter.VAR_KEYWORD or "Unpack[" not in str(parameter.annotation):
        return [parameter]
    (keywords,) = get_args(get_type_hints(verb)[parameter.name])
    return [
        inspect.Parameter(name, parameter.KEYWORD_ONLY, default=_LeftOut(), annotation=hint.__forward_arg__)
        for name, hint in keywords.__annotations__.items()
    ]


_HERE = ("save", "export", "hook")  # no verbs for others: they write any file, or call any hook


def names_of_verbs(face: type) -> dict[Callable[..., Any], str]:
    """The verbs that a face has, and the names they have there."""
    found: dict[Callable[..., Any], str] = {}
    forms: dict[str, Any]
    for name in dir(face):
        member = inspect.getattr_static(face, name)
        forms = {name: member}
        if isinstance(member, property):
            forms = {name: member.fget, f"set_{name}": member.fset}
        found.update({form.verb: name for name, form in forms.items() if hasattr(form, "verb") and name not in _HERE})
    return found


def sessions_of(found: Any, session_of: Callable[[Any], Any]) -> Any:
    """The sessions of a verb's result: of a handle, a list of handles, or None. session_of: makes the session of a handle."""
    if isinstance(found, list):
        return [session_of(handle) for handle in found]
    return None if found is None else session_of(found)
