"""JSON as sessile writes it: canonical, so that equal values have equal bytes and equal hashes on every backend.

Keys are sorted by code point, there is no white space, text is UTF-8 without escapes that JSON does not demand, floats are
the shortest text that reads back as the same number (Python's `repr`), integers have all their digits, and there is no NaN.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from sessile.drive.shown import is_encodable, is_huge, shorten
from sessile.errors import InvalidInput

JSON = Any  # what `json` can hold: None, bool, int, float, str, and lists and string-keyed dicts of them

_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), sort_keys=True)
quoted: Callable[[str], str] = json.encoder.encode_basestring  # a text as JSON


def _encode() -> Callable[[JSON], str]:
    """The encoder, without what the standard library does anew for each value, where it is as it is known to be."""
    try:
        make = json.encoder.c_make_encoder  # type: ignore[attr-defined]
        chunks = make(None, _ENCODER.default, quoted, None, ":", ",", True, False, False)
        sample = {"b": [1, 2.5, None, True, "ä\n\u2028"], "a": {'"': -1e-07}}
        if "".join(chunks(sample, 0)) == _ENCODER.encode(sample):
            return lambda value: "".join(chunks(value, 0))
    except (AttributeError, TypeError):
        pass
    return _ENCODER.encode


to_json = _encode()
_scan: Callable[[str, int], tuple[JSON, int]] = json.JSONDecoder().scan_once  # type: ignore[attr-defined]  # undocumented


def from_json(text: str | bytes) -> JSON:
    """The value of some JSON; ValueError where it is none."""
    if isinstance(text, str):
        try:
            value, end = _scan(text, 0)  # nearly always our own, without white space around it
        except (ValueError, StopIteration):
            pass
        else:
            if end == len(text):
                return value
    return json.loads(text)


def json_value(value: object, what: str, error: type[InvalidInput] = InvalidInput) -> JSON:
    """A deep copy of `value` as plain JSON values, or `error` with the path of what JSON cannot hold."""
    if type(value) is str and value.isascii():  # nearly always
        return value
    try:
        if problem := _problem(value, what):
            raise error(problem)
        return value if isinstance(value, str) else from_json(to_json(value))
    except RecursionError:
        raise error(f"{what} holds itself, or is nested too deeply for JSON: pass it flatter, or as text") from None


def _problem(value: object, path: str) -> str:
    if value is None or isinstance(value, (bool, int)):
        return f"{path} is {shorten(value)}, which no JSON reader takes: pass it as a string" if is_huge(value) else ""
    if isinstance(value, str):
        return "" if is_encodable(value) else f"{path} has a lone surrogate: {value[:40]!r}; decode the text properly first"
    if isinstance(value, float):
        finite = value - value == 0
        return "" if finite else f"{path} is {value!r}, which JSON does not have: use None or a string"
    if isinstance(value, (list, tuple)):
        parts = ((f"{path}[{i}]", item) for i, item in enumerate(value))
        return next((p for where, item in parts if (p := _problem(item, where))), "")
    if isinstance(value, dict):
        return _dict_problem(value, path)
    return f"{path} is a {type(value).__name__} ({shorten(value)}), which JSON does not have: pass a string, number, list or dict"


def _dict_problem(value: dict[Any, Any], path: str) -> str:
    for key, item in value.items():
        if not isinstance(key, str):
            return f"{path} has the key {shorten(key)}; JSON keys are strings: use str(key)"
        if problem := _problem(key, f"a key of {path}") or _problem(item, f"{path}[{key!r}]"):
            return problem
    return ""


def same(one: object, other: object) -> bool:
    """Are two JSON values the same? 1, 1.0 and True are equal to Python, but are written differently."""
    return one is other or (one == other and to_json(one) == to_json(other))


def copied(value: JSON) -> JSON:
    """A deep copy of JSON values: what is handed out is the caller's to change, and changes nothing that is stored."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [copied(item) for item in value]
    return value
