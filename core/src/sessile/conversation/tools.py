"""Tools: functions that a model may call. Their schema comes from the signature and the docstring (see `parameters.py`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, overload

import attrs

from sessile.conversation.foreign import Api
from sessile.conversation.json_types import Unusable, to_plain
from sessile.conversation.parameters import Convert, arguments_of, parameters_of
from sessile.drive.arguments import checked
from sessile.errors import InvalidInput
from sessile.log.encoding import JSON, to_json


@attrs.frozen
class Tool:
    """A function a model may call. `parameters` is the JSON schema of its arguments. risky: mark what is hard to undo.

    converters: makes a parameter's value from the JSON value that a model gave; without one, the function gets that.
    """

    name: str
    description: str
    parameters: dict[str, JSON]
    function: Callable[..., Any]
    risky: bool = False
    converters: Mapping[str, Convert] = attrs.field(factory=dict, repr=False)

    @checked
    def to_openai(self, api: Api = "chat") -> dict[str, JSON]:
        """As OpenAI's client takes it among `tools`, for chat completions ("chat") or the Responses API ("responses")."""
        about: dict[str, JSON] = {"name": self.name, "description": self.description, "parameters": self.parameters}
        if api == "chat":
            return {"type": "function", "function": about}
        return {"type": "function", **about, "strict": False}  # by default, the API takes schemas without optional arguments only

    def bind(self, arguments: Mapping[str, JSON]) -> inspect.BoundArguments | str:
        """What to call the function with, or why it cannot be called with these arguments: a text for the model."""
        try:
            return arguments_of(self.function, arguments, self.converters)
        except Unusable as problem:
            return str(problem)


@overload
def tool(function: Callable[..., Any] | Tool, *, name: str = "", risky: bool = False) -> Tool: ...


@overload
def tool(function: None = None, *, name: str = "", risky: bool = False) -> Callable[[Callable[..., Any] | Tool], Tool]: ...


@functools.partial(checked, skip=0)
def tool(function: Callable[..., Any] | Tool | None = None, *, name: str = "", risky: bool = False) -> Any:
    """The `Tool` of a function; also a decorator: `@tool(risky=True)`.

    Parameters may be text, numbers, bool, enums, literals, dates, times, bytes (base64), UUIDs, paths, decimals, unions,
    lists, sets, tuples and dicts of those, dataclasses, attrs classes and TypedDicts; the function gets values of these
    types. What a `functools.partial` fixes is hidden from the model. Raises `InvalidInput`, which names the tool and the
    parameter, for one that cannot be made from JSON.
    """
    if function is None:
        return functools.partial(tool, name=name, risky=risky)
    if isinstance(function, Tool):
        return function
    if not callable(function):
        raise InvalidInput(f"a tool is a function, not {type(function).__name__} ({function!r:.60})")
    if inspect.isgeneratorfunction(inner := _plain(function)) or inspect.isasyncgenfunction(inner):
        raise InvalidInput(f"the tool {inner!r:.60} yields its result, and a model hears of one only: return a list")
    name = name or _name(function)
    parameters, converters = parameters_of(function, name)
    return Tool(name, _description(function), parameters, function, risky, converters)


def named(tools: Iterable[Callable[..., Any] | Tool], agent: str) -> dict[str, Tool]:
    """Tools by their names. `InvalidInput` where two have the same, as a model could call only one of them."""
    found: dict[str, Tool] = {}
    for made in map(tool, tools):
        if made.name in found:
            raise InvalidInput(f"agent {agent!r} has two tools named {made.name!r}: name one of them with tool(function, name=…)")
        found[made.name] = made
    return found


def _plain(function: Any) -> Any:
    """The function in a partial: it has the name and the docstring."""
    return _plain(function.func) if isinstance(function, functools.partial) else function


def _name(function: Callable[..., Any]) -> str:
    inner = _plain(function)
    name: str = getattr(inner, "__name__", type(inner).__name__)
    if not name.isidentifier():
        raise InvalidInput(f"the tool {inner!r:.80} has no name that a model could call: name it with tool(function, name=…)")
    return name


def _description(function: Callable[..., Any]) -> str:
    return inspect.getdoc(_plain(function)) or ""


def result_text(value: object) -> str:
    """What a tool returned as the text a model reads: strings as they are, the rest as JSON where that can be."""
    try:
        plain = to_plain(value)
        text = plain if isinstance(plain, str) else to_json(plain)
    except (TypeError, ValueError, RecursionError):
        text = str(value)
    return _storable(text)


def error_text(error: BaseException) -> str:
    """The text of an exception; a placeholder if its `__str__` fails."""
    try:
        return _storable(str(error))
    except Exception as second:
        return f"its text cannot be had ({type(second).__name__})"


def _storable(text: str) -> str:
    """Text without lone surrogates, which file names can have: they are written out, such as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode()
