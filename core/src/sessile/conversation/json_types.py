"""Types as JSON has them: the JSON schema of a type, the value of that type from JSON values, and the way back.

The values are made by cattrs. Where a type says one thing and a model another, the text of the error is for the model.
"""

from __future__ import annotations

import base64
import collections.abc as abc
import dataclasses
import datetime
import decimal
import enum
import functools
import pathlib
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

import attrs

from sessile.errors import InvalidInput
from sessile.log.encoding import JSON

if TYPE_CHECKING:
    from cattrs import Converter

Maker = Callable[[Any, Any], Any]  # (JSON value, type) -> value


class Unusable(InvalidInput):
    """A type that no JSON value can be made into, or a value that is none of its type."""


_SIMPLE: dict[Any, dict[str, JSON]] = {
    Any: {},
    object: {},
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    tuple: {"type": "array"},
    set: {"type": "array", "uniqueItems": True},
    frozenset: {"type": "array", "uniqueItems": True},
    dict: {"type": "object"},
}
_LISTS = (list, abc.Sequence, abc.MutableSequence, abc.Iterable, abc.Collection)
_SETS = (set, frozenset, abc.Set, abc.MutableSet)
_DICTS = (dict, abc.Mapping, abc.MutableMapping)


def _moment(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# What JSON has as text: (its schema, what a model is told to give, from text, to text).
_WRITTEN: dict[type, tuple[dict[str, JSON], str, Callable[[str], Any], Callable[[Any], str]]] = {
    bytes: ({"contentEncoding": "base64"}, "bytes in base64", _bytes, lambda value: base64.b64encode(value).decode()),
    datetime.datetime: ({"format": "date-time"}, "a time like 2030-12-31T23:59:00+01:00", _moment, datetime.datetime.isoformat),
    datetime.date: ({"format": "date"}, "a date like 2030-12-31", datetime.date.fromisoformat, datetime.date.isoformat),
    datetime.time: ({"format": "time"}, "a time of day like 23:59:00", datetime.time.fromisoformat, datetime.time.isoformat),
    uuid.UUID: ({"format": "uuid"}, "a UUID", uuid.UUID, str),
    decimal.Decimal: ({"format": "decimal"}, "a decimal number as text", decimal.Decimal, str),
    pathlib.Path: ({"format": "path"}, "a path", pathlib.Path, str),
}


def schema_of(hint: Any, inside: tuple[Any, ...] = ()) -> dict[str, JSON]:
    """The JSON schema of a type. Raises `Unusable` where it has none. inside: the classes it is a field of."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is typing.Annotated:
        described = [text for text in arguments[1:] if isinstance(text, str)]
        return {**schema_of(arguments[0], inside), **({"description": described[0]} if described else {})}
    if _is_literal(hint):
        return {"enum": [_member(value, hint) for value in arguments]}
    if _is_union(hint):
        return {"anyOf": [schema_of(option, inside) for option in arguments]}
    if origin is None and hint in _WRITTEN:
        return {"type": "string", **_WRITTEN[hint][0]}
    if origin is None and hint in _SIMPLE:
        return dict(_SIMPLE[hint])
    if (known := hint if origin is None else origin) in (*_LISTS, *_SETS, *_DICTS, tuple):
        return _collection(known, arguments, inside)
    if isinstance(hint, typing.NewType):
        return schema_of(hint.__supertype__, inside)
    if isinstance(hint, enum.EnumMeta):
        members: list[Any] = list(hint)
        return {"enum": [_member(member, hint) for member in members]}
    if isinstance(hint, type) and (typing.is_typeddict(hint) or attrs.has(hint) or hasattr(hint, "__dataclass_fields__")):
        return _object(hint, inside)
    raise Unusable(f"there is no way to make {_named(hint)} from JSON; take text, numbers, lists, dicts or a dataclass of those")


def _collection(kind: Any, arguments: Sequence[Any], inside: tuple[Any, ...]) -> dict[str, JSON]:
    if kind in _DICTS:
        key, value = arguments or (Any, Any)
        if key not in (Any, str, int) and not isinstance(key, enum.EnumMeta):
            raise Unusable(f"the keys of JSON objects are strings, not {_named(key)}")
        return {"type": "object", **({"additionalProperties": schema_of(value, inside)} if arguments else {})}
    if kind is tuple and arguments and arguments[-1] is not ...:
        items = [schema_of(item, inside) for item in arguments]
        return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
    schema = dict(_SIMPLE[set] if kind in _SETS else _SIMPLE[list])
    return {**schema, "items": schema_of(arguments[0], inside)} if arguments else schema


def _object(cls: Any, inside: tuple[Any, ...]) -> dict[str, JSON]:
    if cls in inside:
        raise Unusable(f"{_named(cls)} contains itself")
    try:
        hints = get_type_hints(cls)
    except NameError as error:
        raise Unusable(f"a field of {_named(cls)} is annotated with what does not exist at run time ({error})") from error
    properties = {name: schema_of(hints[name], (*inside, cls)) for name in _fields(cls, hints)}
    required = [name for name, needed in _fields(cls, hints).items() if needed]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _fields(cls: Any, hints: Mapping[str, Any]) -> dict[str, bool]:
    """The fields that JSON has of a class, and whether each is needed."""
    if typing.is_typeddict(cls):
        return {name: name in cls.__required_keys__ for name in hints}
    if attrs.has(cls):
        return {field.name: field.default is attrs.NOTHING for field in attrs.fields(cls) if field.init}
    fields = [field for field in cls.__dataclass_fields__.values() if field.name in hints and field.init]
    missing = dataclasses.MISSING
    return {field.name: field.default is missing and field.default_factory is missing for field in fields}


def _member(value: Any, hint: Any) -> JSON:
    value = value.value if isinstance(value, enum.Enum) else value
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    raise Unusable(f"{_named(hint)} has the value {value!r:.40}, which JSON does not have")


def _named(hint: Any) -> str:
    return hint.__qualname__ if isinstance(hint, type) and get_origin(hint) is None else str(hint)


# -- values


def from_plain(hint: Any, name: str, value: JSON) -> Any:
    """The value of a type from JSON values. Raises `Unusable`, which says what is wrong, and where in `name`."""
    try:
        return _converter().structure(value, hint)
    except Exception as error:  # whatever the checks of a class of the caller's raise
        raise Unusable(_problems(error, name)) from error


def to_plain(value: object) -> Any:
    """A value as JSON has it: enums, dates, bytes, dataclasses and the like as `from_plain` takes them."""
    return _converter().unstructure(value)


def _problems(error: Exception, where: str) -> str:
    import cattrs

    return "; ".join(cattrs.transform_error(error, where, _told))


def _told(error: BaseException, hint: type | None) -> str:
    if isinstance(error, (AttributeError, TypeError)):  # cattrs takes what it is given for a dict
        return "expected an object"
    from cattrs.v import format_exception

    return str(error) if isinstance(error, ValueError) and str(error) else format_exception(error, hint)


def _wrong(expected: str, value: Any) -> Unusable:
    return Unusable(f"expected {expected}, not {value!r:.60}")


def _text(value: Any, _: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)  # an order's number, say
    raise _wrong("text", value)


def _integer(value: Any, _: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return int(_parsed(value, int, "a whole number"))


def _number(value: Any, _: Any) -> float:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    return float(_parsed(value, float, "a number"))


def _parsed(value: Any, parse: Callable[[str], Any], expected: str) -> Any:
    try:
        if isinstance(value, str):
            return parse(value)
    except (ValueError, ArithmeticError) as error:
        raise _wrong(expected, value) from error
    raise _wrong(expected, value)


def _one_of(value: Any, options: Mapping[Any, JSON]) -> Any:
    """The option whose JSON value this is. (True is not 1.)"""
    for option, plain in options.items():
        if type(plain) is type(value) and plain == value:
            return option
    raise _wrong(f"one of {list(options.values())}", value)


def _boolean(value: Any, _: Any) -> bool:
    written = {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    return bool(_one_of(written, {True: True, False: False}))


def _enum(value: Any, cls: Any) -> Any:
    return _one_of(value, {member: member.value for member in cls})


def _unless_enum(maker: Maker) -> Maker:
    """A maker of texts or numbers, which cattrs asks for enums that are texts or numbers, too."""
    return lambda value, cls: _enum(value, cls) if isinstance(cls, enum.EnumMeta) else maker(value, cls)


def _union(hint: Any, converter: Converter) -> Maker:
    """A value that is of one of the types already stays as it is; else the first type that takes it."""
    options = [(option, converter.get_structure_hook(option)) for option in get_args(hint)]

    def make(value: Any, _: Any) -> Any:
        if type(value) in get_args(hint):
            return value
        problems = []
        for option, maker in options:
            try:
                return maker(value, option)
            except Exception as error:
                problems.append(_problems(error, _named(option)))
        raise Unusable(f"{value!r:.60} is none of these: {'; '.join(problems)}")

    return make


def _many(hint: Any, converter: Converter) -> Maker:
    """Lists, sets and tuples. (cattrs alone would take the letters of a text for a list.)"""
    kind, arguments = get_origin(hint) or hint, get_args(hint)
    each = kind is tuple and bool(arguments) and arguments[-1] is not ...
    items = [(item, converter.get_structure_hook(item)) for item in (arguments if each else arguments[:1] or (Any,))]
    build: Any = kind if kind in (tuple, frozenset) else set if kind in _SETS else list

    def make(values: Any, _: Any) -> Any:
        if not isinstance(values, list) or (each and len(values) != len(items)):
            raise _wrong(f"a list of {len(items)}" if each else "a list", values)
        made = []
        for number, value in enumerate(values):
            item, maker = items[number if each else 0]
            try:
                made.append(maker(value, item))
            except Exception as error:
                raise Unusable(_problems(error, f"[{number}]")) from error
        return build(made)

    return make


def _is_literal(hint: Any) -> bool:
    return get_origin(hint) is Literal


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def _is_many(hint: Any) -> bool:
    return (get_origin(hint) or hint) in (*_LISTS, *_SETS, tuple)


def _listed(values: abc.Set[Any]) -> list[Any]:
    return sorted(values, key=str)


@functools.cache
def _converter() -> Any:
    """Made when a tool first needs it: most sessions never import cattrs."""
    import cattrs

    made: Any = cattrs.Converter(forbid_extra_keys=True, unstruct_collection_overrides={abc.Set: _listed})
    plain: dict[Any, Maker] = {str: _text, int: _integer, float: _number, bool: _boolean}
    for cls, maker in plain.items():
        made.register_structure_hook(cls, _unless_enum(maker))
    for cls, (_, expected, parse, write) in _WRITTEN.items():
        made.register_structure_hook(cls, lambda value, _, parse=parse, expected=expected: _parsed(value, parse, expected))
        made.register_unstructure_hook(cls, write)
    made.register_structure_hook_func(lambda hint: hint is object, lambda value, _: value)
    made.register_structure_hook(type(None), lambda value, _: _one_of(value, {None: None}))
    made.register_structure_hook_func(
        _is_literal,
        lambda value, hint: _one_of(value, {option: _member(option, hint) for option in get_args(hint)}),
    )
    made.register_structure_hook(enum.Enum, _enum)
    made.register_structure_hook_factory(_is_union, _union)
    made.register_structure_hook_factory(_is_many, _many)
    return made
