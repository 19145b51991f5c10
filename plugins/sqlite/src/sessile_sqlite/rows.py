"""Headers as rows: what has a column of its own, what is in the details, and the conditions of a query."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.store import COLUMNS, RESERVED, UNSEEN, Query, is_unset


def to_details(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without a column; those that are as in a new header need not be kept."""
    return {n: value for n, value in changes.items() if n not in COLUMNS and not is_unset(n, value)}


def conditions(query: Query) -> tuple[list[str], list[Any]]:
    """The parts of the WHERE clause of a query, and their values."""
    parts: list[tuple[str, Any]] = [(f"substr(s.session_id, 1, 1) {'=' if query.reserved else '!='} ?", RESERVED)]
    if query.status is None:
        parts.append(("s.status NOT IN (?, ?)", UNSEEN))
    parts += [(f"s.{name} = ?", value) for name, value in query.equal.items()]
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
