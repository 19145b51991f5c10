"""Headers and entries as rows. A plain message, of a role and a text, lies in columns; every other entry as JSONB in `body`.

JSONB changes some values, which are kept as JSON text in it instead, so that nothing is lost: it has no NUL character, and
numbers with an exponent, or a negative zero, come back as others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sessile.errors import CorruptStore
from sessile.store import COLUMNS, ROLES, UNSEEN, Entry, Header, Query, from_json, from_row, is_unset, owner_of, to_json

_CHANGED = re.compile(r"\\u0000|(?:^|[:,\[])-?(?:\d[\d.]*[eE]|0\.0\b)")  # finds too much in texts, which does no harm
_LARGEST = 2**63
ENTRY = {  # the columns of an entry, and their types
    "position": "bigint",
    "kind": "text",
    "role": "text",
    "content": "text",
    "id": "text",
    "time": "float8",
    "turn": "text",
    "count": "bigint",
    "base": "bigint",
    "prev": "text",
    "body": "text",  # which is JSON
}
SELECT = ", ".join(f"{name}::text" if name == "body" else name for name in ENTRY)
_AS_TEXT = "~"  # behind the name of a field whose value is JSON text; alone, the key of a whole entry's


def place_of(log: str) -> list[str]:
    """The session id and the log of a log's rows: the parts of its id."""
    return [owner_of(log), log.partition(".")[0]]


def columns_of(entries: Sequence[Entry]) -> list[list[Any]]:
    """Entries as a list for each of `ENTRY`."""
    rows = [_row_of(entry) for entry in entries]
    return [*map(list, zip(*rows, strict=True))] if rows else [[] for _ in ENTRY]


def _row_of(entry: Entry) -> tuple[Any, ...]:
    if _is_plain(entry):
        body = entry.body
        about = entry.id, entry.time, entry.turn, entry.count, entry.base, entry.prev
        return entry.position, entry.kind, body["role"], body["content"], *about, None
    text = entry.json
    body = to_json({_AS_TEXT: text}) if _CHANGED.search(text) else text
    return entry.position, entry.kind, *[None] * 8, body


def _is_plain(entry: Entry) -> bool:
    """Is it a message of a role and a text, each of whose fields can lie in a column as it is?"""
    body = entry.body
    if entry.kind != "message" or len(body) != 2 or entry.raw is not None or entry.extra:
        return False
    texts = body.get("role"), body.get("content"), entry.id, entry.prev, entry.turn or ""
    return (
        [*map(type, texts)] == [str] * 5
        and texts[0] in ROLES
        and not any("\0" in text for text in texts)
        and [type(entry.time), type(entry.count), type(entry.base)] == [float, int, int]
        and entry.time > 0  # a negative zero has another text there
        and -_LARGEST < min(entry.count, entry.base) <= max(entry.count, entry.base) < _LARGEST
    )


def to_entries(rows: Iterable[Sequence[Any]]) -> list[Entry]:
    """The entries in rows of `ENTRY`."""
    return [*map(to_entry, rows)]


def to_entry(row: Sequence[Any]) -> Entry:
    """The entry in a row of `ENTRY`; `CorruptStore` where it is none."""
    position, kind, role, content, entry_id, time, turn, count, base, prev, body = row
    if body is not None:
        entry = _whole(position, body)
        if (entry.position, entry.kind) != (position, kind):
            raise CorruptStore(f"the row of entry {position}, {kind!r}, has another entry in it: restore a copy")
        return entry
    if kind != "message" or None in (role, content, entry_id, time, count, base, prev):
        raise CorruptStore(f"the row of entry {position} is no message: restore a copy")
    said = {"content": content, "role": role}
    return Entry.of_fields(position, entry_id, float(time), said, count=count, base=base, prev=prev, turn=turn)


def _whole(position: int, body: str) -> Entry:
    try:
        return Entry.from_json(from_json(body)[_AS_TEXT] if body.startswith('{"~"') else body)
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptStore(f"the row of entry {position} has no entry in it ({type(error).__name__}): restore a copy") from error


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
