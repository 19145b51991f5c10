"""Tools: plain functions that a model may call; the schema comes from the signature and the docstring."""

from __future__ import annotations

import enum
import functools
import inspect
import types
from collections.abc import Callable
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from sessile.encoding import JSON, to_json
from sessile.errors import InvalidInput

_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", tuple: "array", dict: "object"}


@attrs.frozen
class Tool:
    """A function a model may call. `parameters` is the JSON schema of its arguments. risky: mark what is hard to undo."""

    name: str
    description: str
    parameters: dict[str, JSON]
    function: Callable[..., Any]
    risky: bool = False

    def problem(self, arguments: dict[str, JSON]) -> str:
        """Why the function cannot be called with these arguments; "" where it can."""
        try:
            inspect.signature(self.function).bind(**arguments)
        except TypeError as error:
            return str(error)
        return ""


def tool(function: Callable[..., Any] | Tool | None = None, *, name: str = "", risky: bool = False) -> Any:
    """The `Tool` of a function; also a decorator: `@tool(risky=True)`."""
    if function is None:
        return functools.partial(tool, name=name, risky=risky)
    if isinstance(function, Tool):
        return function
    if not callable(function):
        raise InvalidInput(f"a tool is a function, not {type(function).__name__} ({function!r:.60})")
    name = name or getattr(function, "__name__", type(function).__name__)
    return Tool(name, inspect.getdoc(function) or "", _parameters(function), function, risky)


def _parameters(function: Callable[..., Any]) -> dict[str, JSON]:
    signature = inspect.signature(function)
    hints = get_type_hints(function if inspect.isroutine(function) else type(function).__call__)
    named = [p for p in signature.parameters.values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    properties = {p.name: _schema(hints.get(p.name, str)) for p in named}
    for p in named:
        if p.default not in (p.empty, None) and isinstance(p.default, (str, int, float, bool)):
            properties[p.name]["default"] = p.default
    required = [p.name for p in named if p.default is p.empty]
    return {"type": "object", "properties": properties, "required": required}


def _schema(hint: Any) -> dict[str, JSON]:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin in (Union, types.UnionType):
        options = [_schema(a) for a in arguments if a is not type(None)]
        return options[0] if len(options) == 1 else {"anyOf": options}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return {"enum": [member.value for member in hint]}
    if (origin or hint) is list and arguments:
        return {"type": "array", "items": _schema(arguments[0])}
    known = _TYPES.get(origin or hint)
    return {"type": known} if known else {}


def result_text(value: object) -> str:
    """What a tool returned as the text a model reads: strings as they are, the rest as JSON where that can be."""
    if isinstance(value, str):
        return value
    try:
        return to_json(value)
    except (TypeError, ValueError):
        return str(value)
