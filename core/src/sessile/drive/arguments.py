"""Arguments, checked where they are passed: from the annotations of what takes them, compiled at the first call.

`@checked` on a function or a class, and `blocking` and `awaited` for the verbs of a session, refuse a value that its
parameter's annotation does not allow, and a keyword that is no parameter, before anything is done. An annotation says
more than a type where that is needed: `Annotated[int, Check(…)]`. `Any` takes everything.
"""

from __future__ import annotations

import collections.abc
import functools
import inspect
import math
import os
import threading
import types
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher, get_close_matches
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from sessile.drive.shown import is_encodable, shorten
from sessile.errors import InvalidArgument

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type)
Fits = Callable[[Any], bool]
_INTEGERS = 2**63  # what databases, JSON readers and other languages agree on


@attrs.frozen
class Check:
    """Beside a type, in `Annotated[type, Check(…)]`: what else a value of it has to be, and how an error says it."""

    test: Fits
    wanted: str


class Unchecked:
    """Beside a type, in `Annotated[type, Unchecked]`: not checked here, as what takes the value says better what is wrong."""


Count = Annotated[int, Check(lambda value: value >= 0, "a whole number, 0 or more")]
Positive = Annotated[int, Check(lambda value: value > 0, "a whole number, 1 or more")]
Duration = Annotated[float, Check(lambda value: 0 < value <= threading.TIMEOUT_MAX, "a number of seconds above 0")]
Seconds = Annotated[float, Check(lambda value: 0 <= value <= threading.TIMEOUT_MAX, "a number of seconds, 0 or more")]
Lifetime = Annotated[float, Check(lambda value: 0 < value < 2**40, "seconds above 0 and below 2**40")]  # a later moment is none


class Arguments:
    """The check of what one callable is called with: `check(args, kwargs)`, without its first `skip` parameters."""

    def __init__(self, function: Callable[..., Any], *, skip: int, owner: type | None = None) -> None:
        self._function = function
        self._skip = skip
        self._owner = owner
        self._positional: list[tuple[str, Fits]] | None = None
        self._named: dict[str, Fits] = {}
        self._wanted: dict[str, str] = {}
        self._open = False  # does it take keywords of any name?

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """`InvalidArgument` for a value that its parameter does not take, and for a keyword that is no parameter."""
        if self._positional is None:
            self._positional = self._compile()
        for (name, fits), value in zip(self._positional, args, strict=False):
            if not fits(value):
                raise self._refused(name, value)
        for name, value in kwargs.items():
            known = self._named.get(name)
            if known is None:
                self._unknown(name)
            elif not known(value):
                raise self._refused(name, value)

    def _compile(self) -> list[tuple[str, Fits]]:
        hints = self._hints()
        positional: list[tuple[str, Fits]] = []
        for parameter in list(inspect.signature(self._function).parameters.values())[self._skip :]:
            fits, self._wanted[parameter.name] = rule(hints.get(parameter.name, Any))
            if parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                positional.append((parameter.name, fits))
            if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
                self._named[parameter.name] = fits
            self._open = self._open or parameter.kind is parameter.VAR_KEYWORD
        return positional

    def _hints(self) -> dict[str, Any]:
        """The parameters' annotations; those of the class where attrs has written the constructor."""
        if self._owner is not None and attrs.has(self._owner) and self._function.__name__ == "__init__":
            return get_type_hints(self._owner, include_extras=True)
        given = {name: hint for name, hint in self._function.__annotations__.items() if name != "return"}
        holder: Any = types.SimpleNamespace(__annotations__=given)
        return get_type_hints(holder, self._function.__globals__, include_extras=True)

    @property
    def _name(self) -> str:
        *_, owner, name = f".{self._function.__qualname__}".split(".")
        return owner.removeprefix("Base") if name == "__init__" else name  # of a base class, what users make is a subclass

    def _refused(self, name: str, value: object) -> InvalidArgument:
        unreadable = isinstance(value, str) and not is_encodable(value)
        shown = "text with a lone surrogate" if unreadable else shorten(value)
        return InvalidArgument(f"{self._name}: {name} is {shown}: pass {self._wanted[name]}")

    def _unknown(self, name: str) -> None:
        """Refuse a keyword that is no parameter; where keywords of any name are taken, one that is nearly a parameter's."""
        if self._open:
            near = [other for other in self._named if is_near_miss(name, other)]
            if not near:
                return
        else:
            near = get_close_matches(name, self._named, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(self._named) or 'none'}."
        kept = next((other for other in ("metadata", "options") if other in self._named), "")
        more = f" To store it with the message, pass {kept}={{{name!r}: …}}" if kept else ""
        raise InvalidArgument(f"{self._name} has no parameter {name!r}: {hint}{more}")


@functools.lru_cache(maxsize=4096)  # the same few words are asked for again and again
def is_near_miss(word: str, other: str) -> bool:
    """Is a word most likely another one with letters swapped, missing or doubled? Other words may differ in a letter."""
    if sorted(word) == sorted(other):
        return word != other
    return len(word) != len(other) and SequenceMatcher(None, word, other).ratio() > 0.85


# -- where it is put


def checked(function: F, *, skip: int = 1, owner: type | None = None) -> F:
    """Decorator of a method: its arguments are checked by their annotations. skip: 0 for a function."""
    check = Arguments(function, skip=skip, owner=owner)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            check(args[skip:], kwargs)
            return await function(*args, **kwargs)

        return awaited  # type: ignore[return-value]

    @functools.wraps(function)
    def method(*args: Any, **kwargs: Any) -> Any:
        check(args[skip:], kwargs)
        return function(*args, **kwargs)

    return method  # type: ignore[return-value]


def checked_class(cls: C) -> C:
    """Decorator of a class: `checked` for its constructor, its public methods and its properties' setters.

    Functions that are decorated already, such as a session's verbs, are skipped.
    """
    for name, value in list(vars(cls).items()):
        if name.startswith("_") and name != "__init__":
            continue
        if isinstance(value, (staticmethod, classmethod)):
            skip = int(isinstance(value, classmethod))
            setattr(cls, name, type(value)(checked(value.__func__, skip=skip, owner=cls)))
        elif isinstance(value, property) and value.fset is not None and not _is_decorated(value.fset):
            setattr(cls, name, value.setter(checked(value.fset, owner=cls)))
        elif inspect.isfunction(value) and not _is_decorated(value):
            setattr(cls, name, checked(value, owner=cls))
    return cls


def _is_decorated(function: Any) -> bool:
    return hasattr(function, "__wrapped__") or hasattr(function, "verb")


# -- from an annotation to a test


def rule(hint: Any) -> tuple[Fits, str]:
    """The test of an annotation, and what its values are, for an error: "text, or None"."""
    if hint in _RULES:
        return _RULES[hint]
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _RULES[Any] if arguments[1] is Unchecked else _annotated(rule(arguments[0])[0], arguments[1])
    if origin in (Union, types.UnionType):
        return _union([rule(argument) for argument in arguments])
    if origin is Literal:
        return lambda value: isinstance(value, str) and value in arguments, " or ".join(map(repr, arguments))
    kind = origin or hint
    if kind in (collections.abc.Callable, type):
        return (callable, "a function") if kind is not type else (inspect.isclass, "a class")
    if not isinstance(kind, type) or _is_described(kind):  # a type variable; a protocol
        return _anything, "anything"
    if kind in (collections.abc.Mapping, dict):
        return _mapping(*(arguments or (Any, Any)))
    if kind in _COLLECTIONS:
        return _collection(kind, arguments[0] if arguments else Any)
    return _instance(kind)


def _is_described(kind: type) -> bool:
    """Is this a protocol, of which nobody can say whether a value is one?"""
    return getattr(kind, "_is_protocol", False) and not getattr(kind, "_is_runtime_protocol", False)


def _anything(_: object) -> bool:
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str) and (value.isascii() or is_encodable(value))


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INTEGERS <= value < _INTEGERS


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


_RULES: dict[Any, tuple[Fits, str]] = {
    Any: (_anything, "anything"),
    object: (_anything, "anything"),
    None: (lambda value: value is None, "None"),
    type(None): (lambda value: value is None, "None"),
    str: (_is_text, "text"),
    int: (_is_integer, "a whole number"),
    float: (_is_number, "a number"),
    bool: (lambda value: isinstance(value, bool), "True or False"),
}
_COLLECTIONS = (collections.abc.Iterable, collections.abc.Iterator, collections.abc.Sequence, list, tuple)


def _annotated(fits: Fits, check: object) -> tuple[Fits, str]:
    if not isinstance(check, Check):
        raise TypeError(f"only a Check says what an argument is, not {check!r}")
    test = check.test
    return lambda value: fits(value) and test(value), check.wanted


def _union(rules: list[tuple[Fits, str]]) -> tuple[Fits, str]:
    tests = [fits for fits, _ in rules]
    *words, last = [wanted for _, wanted in rules]
    wanted = f"{', '.join(words)}, or {last}" if words else last
    if len(tests) == 2 and rules[1][1] == "None":
        first = tests[0]
        return lambda value: value is None or first(value), wanted
    return lambda value: any(fits(value) for fits in tests), wanted


def _mapping(key: Any, item: Any) -> tuple[Fits, str]:
    (key_fits, _), (item_fits, wanted) = rule(key), rule(item)

    def fits(value: object) -> bool:
        return isinstance(value, Mapping) and all(key_fits(k) and item_fits(v) for k, v in value.items())

    return fits, "a dict" if item_fits is _anything else f"a dict whose values are each {wanted}"


def _collection(kind: Any, item: Any) -> tuple[Fits, str]:
    item_fits, wanted = rule(item)
    kind = collections.abc.Iterable if kind is collections.abc.Iterable else collections.abc.Sequence

    def fits(value: object) -> bool:
        if type(value) in (list, tuple):  # nearly always
            return all(map(item_fits, value))  # type: ignore[call-overload]
        if not isinstance(value, kind) or isinstance(value, (str, bytes, bytearray, Mapping, type)):
            return False
        return not isinstance(value, (list, tuple)) or all(map(item_fits, value))  # what is read once is left alone

    return fits, "a list" if item_fits is _anything else f"a list whose items are each {wanted}"


def _instance(kind: type) -> tuple[Fits, str]:
    name = "a path" if kind is os.PathLike else f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"
    return lambda value: isinstance(value, kind), name
