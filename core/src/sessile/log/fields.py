"""Entries and headers from JSON values: fast, as this is most of what a read takes, or with an error that says what is wrong."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from types import UnionType
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import attrs

from sessile.drive.locks import cached_property
from sessile.drive.shown import shorten
from sessile.errors import CorruptStore

T = TypeVar("T")


class Fields(Generic[T]):
    """The fields of an attrs class, and the types that their annotations allow.

    cls has a field `extra`, a dict: it takes what a newer version wrote. what: the class in an error's words.
    right: the types of those that matter most, and of all that have no default. Looking at all of them takes ten times as long.
    """

    def __init__(self, cls: type[T], what: str, right: Mapping[str, type]) -> None:
        fields: tuple[attrs.Attribute[Any], ...] = attrs.fields(cls)  # type: ignore[arg-type]
        self.names = frozenset(field.name for field in fields) - {"extra"}
        self._needed = frozenset(field.name for field in fields if field.default is attrs.NOTHING)
        self._class, self._what = cls, what
        self._matter, self._right = operator.itemgetter(*right), tuple(right.values())
        self._defaults = {field.name: None if field.name in self._needed else field.default for field in fields}
        makers = {name: getattr(default, "factory", None) for name, default in self._defaults.items()}
        self._makers = [(name, make) for name, make in makers.items() if make is not None]
        self._converters: list[tuple[str, Any]] = [(field.name, field.converter) for field in fields if field.converter]

    def build(self, data: Any) -> T:
        """The instance of these JSON values, a dict; `CorruptStore` where a field is missing or of a wrong type.

        Its text has no values: what somebody said is not for everybody who sees the error.
        """
        if not isinstance(data, dict):
            return self._build_checked(data)
        built = object.__new__(self._class)  # half of what the class itself takes, with so many fields
        values = built.__dict__
        values.update(self._defaults)
        for name, make in self._makers:
            values[name] = make()
        try:
            values.update(data)
            for name, convert in self._converters:
                values[name] = convert(values[name])
        except (TypeError, ValueError):
            return self._build_checked(data)
        right = tuple(map(type, self._matter(values))) == self._right and len(values) == len(self._defaults)
        return built if right and "extra" not in data else self._build_checked(data)

    def _build_checked(self, data: Any) -> T:
        if not isinstance(data, dict):
            raise CorruptStore(f"not {self._what}, which is a JSON object, but a {type(data).__name__}")
        if lost := self._needed - data.keys():
            raise CorruptStore(f"not {self._what}: it has no {min(lost)}, only {shorten(sorted(data), 80)}")
        for name, types in self._types.items():
            if name in data and not isinstance(data[name], types):
                raise CorruptStore(f"not {self._what}: its {name} is a {type(data[name]).__name__}")
        known = {name: value for name, value in data.items() if name in self.names}
        extra = {name: value for name, value in data.items() if name not in self.names}
        try:
            return self._class(**known, extra=extra)  # type: ignore[call-arg]
        except TypeError as error:
            raise CorruptStore(f"not {self._what}: {error}") from error

    @cached_property
    def _types(self) -> dict[str, tuple[type, ...]]:
        hints = get_type_hints(self._class)
        return {name: _json_types(hints[name]) for name in sorted(self.names)}


def _json_types(hint: Any) -> tuple[type, ...]:
    """The types that a field's value may have in JSON, which has lists for tuples, and may have integers for floats."""
    kinds = [get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,))]
    kinds += [list] if tuple in kinds else [int] if float in kinds else []
    return tuple(kinds)
