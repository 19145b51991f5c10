"""What a tool's parameters take: the JSON schema that a model is given, and how its JSON values become arguments.

What has no schema is refused when the tool is made, so that a function never gets a value of another type than it says.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from sessile.conversation.json_types import Unusable, from_plain, schema_of, to_plain
from sessile.errors import InvalidInput
from sessile.log.encoding import JSON, to_json

Convert = Callable[[JSON], Any]


def parameters_of(function: Callable[..., Any], tool: str) -> tuple[dict[str, JSON], dict[str, Convert]]:
    """(schema of the arguments, how each is made). `InvalidInput` names the tool and the parameter that cannot be had."""
    properties: dict[str, JSON] = {}
    converters: dict[str, Convert] = {}
    for parameter in _parameters(function, tool):
        try:
            hint = _hint(function, parameter)
            properties[parameter.name] = _property(hint, parameter)
            converters[parameter.name] = functools.partial(from_plain, hint, parameter.name)
        except Unusable as problem:
            raise InvalidInput(f"parameter {parameter.name!r} of tool {tool!r} cannot be made from JSON: {problem}") from problem
    required = [p.name for p in _parameters(function, tool) if p.default is p.empty]
    return {"type": "object", "properties": properties, "required": required}, converters


def arguments_of(
    function: Callable[..., Any], arguments: Mapping[str, JSON], converters: Mapping[str, Convert]
) -> inspect.BoundArguments:
    """The arguments to call a function with, from a model's. Raises `Unusable` where they do not fit."""
    signature, rest = inspect.signature(function), dict(arguments)
    if fixed := sorted(_fixed(function) & rest.keys()):
        raise Unusable(f"got an unexpected keyword argument {fixed[0]!r}")
    positional: list[Any] = []
    missing: list[Any] = []  # defaults before a positional-only argument that is given
    for name, parameter in signature.parameters.items():
        if parameter.kind is not parameter.POSITIONAL_ONLY:
            break
        if name in rest:
            positional += [*missing, _convert(converters, name, rest.pop(name))]
            missing = []
        elif parameter.default is parameter.empty:
            raise Unusable(f"missing a required argument: {name!r}")
        else:
            missing.append(parameter.default)
    try:
        signature.bind(*positional, **rest)  # before anything is converted: what is missing is told first
    except TypeError as error:
        raise Unusable(str(error)) from error
    return signature.bind(*positional, **{name: _convert(converters, name, value) for name, value in rest.items()})


def _convert(converters: Mapping[str, Convert], name: str, value: JSON) -> Any:
    return converters[name](value) if name in converters else value


def _property(hint: Any, parameter: inspect.Parameter) -> dict[str, JSON]:
    """The schema of a parameter, its default in it where JSON can hold that. None as a default is no value to give."""
    schema = schema_of(hint)
    if parameter.default is parameter.empty:
        return schema
    if parameter.default is None:
        options = [option for option in schema.get("anyOf", ()) if option != {"type": "null"}]
        rest = {name: value for name, value in schema.items() if name != "anyOf"}
        return schema if not options else {**options[0], **rest} if len(options) == 1 else {**rest, "anyOf": options}
    try:
        default = to_plain(parameter.default)
        to_json(default)
    except (TypeError, ValueError):
        return schema
    return {**schema, "default": default}


# -- signatures


def _parameters(function: Callable[..., Any], tool: str) -> list[inspect.Parameter]:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError as error:
        raise InvalidInput(f"tool {tool!r} has no readable signature: wrap {function!r:.60} in a function of your own") from error
    except NameError as error:  # since Python 3.14 annotations are evaluated here
        raise InvalidInput(f"a parameter of tool {tool!r} is annotated with what does not exist at run time: {error}") from error
    fixed = _fixed(function)
    return [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD) and p.name not in fixed]


def _fixed(function: Any) -> set[str]:
    """The parameters that a partial gives by name: the caller's own, which a model neither sees nor sets."""
    return {*function.keywords, *_fixed(function.func)} if isinstance(function, functools.partial) else set()


def _hint(function: Any, parameter: inspect.Parameter) -> Any:
    """A parameter's annotation as a type; what is not annotated takes any value."""
    if parameter.annotation is parameter.empty:
        return Any
    annotated = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return get_type_hints(annotated, _globals(function), include_extras=True)[parameter.name]
    except (NameError, SyntaxError, TypeError) as error:
        raise Unusable(f"its annotation {parameter.annotation!r} is no type at run time ({error})") from error


def _globals(function: Any) -> dict[str, Any]:
    """The names that annotations of a function are written in."""
    if isinstance(function, functools.partial):
        return _globals(function.func)
    if isinstance(function, type):
        function = function.__init__  # type: ignore[misc]
    elif not inspect.isroutine(function):
        function = type(function).__call__
    function = inspect.unwrap(function)
    found: dict[str, Any] = getattr(getattr(function, "__func__", function), "__globals__", {})
    return found
