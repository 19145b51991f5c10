"""Headers and entries as rows. JSONB changes some values, which are kept as JSON text in it instead: nothing is lost.

JSONB has no NUL character, and numbers with an exponent, or a negative zero, come back as others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sessile.store import COLUMNS, UNSEEN, Entry, Header, Query, from_json, from_row, is_unset, owner_of, to_json

_CHANGED = re.compile(r"\\u0000|(?:^|[:,\[])-?(?:\d[\d.]*[eE]|0\.0\b)")  # finds too much in texts, which does no harm
_AS_TEXT = "~"  # behind the name of a field whose value is JSON text; alone, the key of a whole entry's


def place_of(log: str) -> list[str]:
    """The session id and the log of a log's rows: the parts of its id."""
    return [owner_of(log), log.partition(".")[0]]


def body_of(entry: Entry) -> str:
    """An entry as JSON for a JSONB column."""
    text = entry.json
    return to_json({_AS_TEXT: text}) if _CHANGED.search(text) else text


def to_entries(texts: Iterable[str]) -> list[Entry]:
    """The entries in such columns."""
    return Entry.all_from_json([from_json(text)[_AS_TEXT] if text.startswith('{"~"') else text for text in texts])


def details_of(changes: Mapping[str, Any], *, new: bool = False) -> str:
    """The fields without a column, to be merged into what there is; of a new header only those that are set."""
    details: dict[str, Any] = {}
    for name, value in changes.items():
        if name in COLUMNS or (new and is_unset(name, value)):
            continue
        as_text = _CHANGED.search(to_json(value)) is not None
        details[name], details[name + _AS_TEXT] = (None, to_json(value)) if as_text else (value, None)
        if new:
            details.pop(name if as_text else name + _AS_TEXT)
    return to_json(details)


def to_header(row: Sequence[Any]) -> Header:
    """The header in a row of `COLUMNS` and details."""
    return from_row(row, _details_in)


def _details_in(body: str) -> dict[str, Any]:
    """What `details_of` made a JSONB column of."""
    details: dict[str, Any] = from_json(body)
    for name in [name for name in details if name.endswith(_AS_TEXT)]:
        text = details.pop(name)
        if text is not None:
            details[name[: -len(_AS_TEXT)]] = from_json(text)
    return details


def conditions(query: Query) -> tuple[str, list[Any]]:
    """The WHERE clause of a query, and its values."""
    parts: list[tuple[str, list[Any]]] = [(f"session_id {'' if query.reserved else 'NOT '}LIKE '~%%'", [])]
    if query.status is None:
        parts.append(("status <> ALL (%s)", [list(UNSEEN)]))
    parts += [(f"{name} = %s", [value]) for name, value in query.equal.items()]
    if query.prefix:
        parts.append(("starts_with(session_id, %s)", [query.prefix]))
    if query.before is not None:
        parts.append(("updated_at < %s", [query.before]))
    if query.after is not None:
        parts.append(("updated_at >= %s", [query.after]))
    if (behind := query.behind()) is not None:
        parts.append(("(updated_at, session_id) < (%s, %s)", list(behind)))
    return " AND ".join(sql for sql, _ in parts), [value for _, values in parts for value in values]
