"""Headers and entries as documents.

The document of a session has its header and the tail of its log; what was the tail before is in buckets, which never
change. Entries are kept as the JSON text that is hashed: BSON would change some numbers and refuse some keys.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sessile.encoding import from_json, to_json
from sessile.errors import CorruptStore
from sessile.ids import RESERVED
from sessile.log import Entry, Header
from sessile.store import Query

# Header fields that the database may be asked for; the others are JSON texts in `details`.
FIELDS = (
    "user_id",
    "parent",
    "root",
    "status",
    "created_at",
    "updated_at",
    "version",
    "head",
    "count",
    "base",
    "hash",
    "commit",
)
_EMPTY = (None, "", [], {})
HEADER = {"tail": 0}  # the projection for all but the tail


def to_fields(changes: Mapping[str, Any], *, new: bool) -> dict[str, Any]:
    """Header fields as they are set in a document; of a new header only those that are not empty."""
    fields = {name: value for name, value in changes.items() if name in FIELDS}
    details = {
        name: to_json(value)
        for name, value in changes.items()
        if name not in FIELDS and name != "session_id" and not (new and value in _EMPTY)
    }
    return {**fields, "details": details} if new else {**fields, **{f"details.{name}": text for name, text in details.items()}}


def to_header(document: Mapping[str, Any]) -> Header:
    """The header in a session's document."""
    try:
        data = {name: from_json(text) for name, text in document["details"].items()}
        data.update((name, document[name]) for name in FIELDS)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        what = f"{type(error).__name__}: {error}"
        raise CorruptStore(
            f"the document of session {document['_id']!r} is broken ({what}): delete it, or restore a copy"
        ) from error
    return Header.from_dict({"session_id": document["_id"], **data})


def readable(document: Mapping[str, Any]) -> Header | None:
    """A header for a list; None for a broken one, which must not hide the others."""
    try:
        return to_header(document)
    except CorruptStore:
        return None


def collect(buckets: Sequence[Mapping[str, Any]], start: int, stop: int) -> list[Entry]:
    """The entries `start` to `stop` from buckets in order of their beginnings; they may overlap, with the same entries."""
    entries: list[Entry] = []
    for bucket in buckets:
        first = max(start + len(entries), bucket["start"])
        if first == start + len(entries):  # else one is missing
            texts = bucket["entries"][first - bucket["start"] : stop - bucket["start"]]
            entries += map(Entry.from_json, texts)
    return entries


def condition(query: Query) -> dict[str, Any]:
    """The filter of a query."""
    parts: list[dict[str, Any]] = [{"own": query.prefix.startswith(RESERVED)}]
    asked = {name: getattr(query, name) for name in ("user_id", "status", "parent", "root")}
    parts += [{name: value} for name, value in asked.items() if value is not None]
    if query.prefix:
        parts.append({"_id": {"$gte": query.prefix, "$lt": query.prefix + "\U0010ffff"}})
    if query.before is not None:
        parts.append({"updated_at": {"$lt": query.before}})
    if query.after is not None:
        parts.append({"updated_at": {"$gte": query.after}})
    if (behind := query.behind()) is not None:
        time, session_id = behind
        parts.append({"$or": [{"updated_at": {"$lt": time}}, {"updated_at": time, "_id": {"$lt": session_id}}]})
    return {"$and": parts}
