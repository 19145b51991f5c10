"""Headers as rows: what has a column of its own, what is in the details, and the conditions of a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessile.errors import CorruptStore
from sessile.store import RESERVED, UNSEEN, Header, Query, from_json, is_unset

# Header fields with a column of their own, and the column's name; the others are in the details.
COLUMNS = {
    "session_id": "session_id",
    "log": "log",
    "user_id": "user_id",
    "parent": "parent",
    "root": "root",
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "version": "version",
    "head": "head",
    "count": "count",
    "base": "base",
    "hash": "hash",
    "commit": "commit_id",
}
UPDATED_AT, _USER_ID = (list(COLUMNS).index(name) for name in ("updated_at", "user_id"))


def to_header(row: Sequence[Any]) -> Header:
    try:
        details = {} if row[-1] == "{}" else from_json(row[-1])  # it nearly always is
        details.update(zip(COLUMNS, row))  # noqa: B905 - the details, the last of the row, have no name here
        return Header.from_dict(details)
    except (TypeError, ValueError, AttributeError, CorruptStore) as error:
        raise CorruptStore(
            f"the details of session {row[0]!r} are not readable ({error}): delete it, or restore a copy", user_id=row[_USER_ID]
        ) from error


def readable(row: Sequence[Any]) -> Header | None:
    """A header for a list; None for a broken one, which must not hide the others."""
    try:
        return to_header(row)
    except CorruptStore:
        return None


def to_details(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without a column; those that are as in a new header need not be kept."""
    return {n: value for n, value in changes.items() if n not in COLUMNS and not is_unset(n, value)}


def conditions(query: Query) -> tuple[list[str], list[Any]]:
    """The parts of the WHERE clause of a query, and their values."""
    parts: list[tuple[str, Any]] = [(f"substr(s.session_id, 1, 1) {'=' if query.reserved else '!='} ?", RESERVED)]
    if query.status is None:
        parts.append(("s.status NOT IN (?, ?)", UNSEEN))
    asked = {name: getattr(query, name) for name in ("user_id", "status", "parent", "root")}
    parts += [(f"s.{name} = ?", value) for name, value in asked.items() if value is not None]
    if query.prefix:
        parts += [("substr(s.session_id, 1, ?) = ?", (len(query.prefix), query.prefix))]
    if query.before is not None:
        parts.append(("s.updated_at < ?", query.before))
    if query.after is not None:
        parts.append(("s.updated_at >= ?", query.after))
    if (behind := query.behind()) is not None:
        parts.append(("(s.updated_at, s.session_id) < (?, ?)", behind))
    values = [v for _, value in parts for v in (value if isinstance(value, tuple) else (value,))]
    return [sql for sql, _ in parts], values
