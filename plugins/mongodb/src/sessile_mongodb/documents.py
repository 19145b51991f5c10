"""What lies where.

The document of a session id: `{_id, the header's fields, tail, kept, expires_at}`. `tail` is the last part of its log: `{log,
start, size, until, entries}`; there is one as long as there is a header. `kept` holds such tails of logs whose sessions are
deleted. What was a tail before is in buckets, `{_id, log, start, stop, entries, expires_at}`. Entries are kept as the JSON
text that is hashed: BSON would change some numbers and refuse some keys.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.errors import CorruptStore
from sessile.store import COLUMNS, RESERVED, UNSEEN, Header, Query, from_json, is_unset, readable, to_json
from sessile_mongodb.deadlines import over

FIELDS = tuple(name for name in COLUMNS if name != "session_id")  # the others are JSON texts in `details`
STORED = (*FIELDS, "details", "hidden", "until")  # what of a document is its header
HEADER = {"tail.entries": 0, "kept": 0}  # the projection for all but entries


def new_header(session_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The header of a new session as it lies in its document; without the details that are not set."""
    fields = {name: value for name, value in changes.items() if name in FIELDS}
    details = {name: to_json(value) for name, value in changes.items() if _is_detail(name) and not is_unset(name, value)}
    return {**fields, "hidden": _hidden(session_id, changes["status"]), "details": details}


def header_changes(session_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Changes of header fields as they are set in a document."""
    fields = {name: value for name, value in changes.items() if name in FIELDS}
    if "status" in changes:
        fields["hidden"] = _hidden(session_id, changes["status"])
    return {**fields, **{f"details.{name}": to_json(value) for name, value in changes.items() if _is_detail(name)}}


def _hidden(session_id: str, status: Any) -> bool:
    return session_id.startswith(RESERVED) or status in UNSEEN


def _is_detail(name: str) -> bool:
    return name not in FIELDS and name != "session_id"


def to_header(document: Mapping[str, Any]) -> Header:
    """The header in a session's document."""
    try:
        data = {name: from_json(text) for name, text in document["details"].items()}
        data.update((name, document[name]) for name in FIELDS)
        return Header.from_dict({"session_id": document["_id"], **data})
    except (KeyError, TypeError, ValueError, AttributeError, CorruptStore) as error:
        what = f"{type(error).__name__}: {error}"
        raise CorruptStore(
            f"the document of session {document['_id']!r} is broken ({what}): delete it, or restore a copy",
            user_id=_user(document),
        ) from error


def _user(document: Mapping[str, Any]) -> str | None:
    """Whose session it is, where the document says so."""
    user_id = document.get("user_id")
    return user_id if isinstance(user_id, str) else None


def unexpired(document: Mapping[str, Any]) -> Header | None:
    """A header for a list; None for one that has expired, or that is broken, which must not hide the others."""
    return None if over(document) else readable(to_header, document)


def condition(query: Query) -> dict[str, Any]:
    """The filter of a query; `unexpired` leaves out what has expired, which is rarely there."""
    parts: list[dict[str, Any]] = [{name: value} for name, value in query.equal.items()]
    if not query.reserved and query.status not in UNSEEN:
        parts.append({"hidden": False})
    elif not query.reserved:
        parts.append({"_id": {"$not": _beginning_with(RESERVED)}})
    elif query.status is None:
        parts.append({"status": {"$nin": [*UNSEEN]}})
    if query.prefix:
        parts.append({"_id": _beginning_with(query.prefix)})
    if query.before is not None:
        parts.append({"updated_at": {"$lt": query.before}})
    if query.after is not None:
        parts.append({"updated_at": {"$gte": query.after}})
    if (behind := query.behind()) is not None:
        time, session_id = behind
        parts.append({"$or": [{"updated_at": {"$lt": time}}, {"updated_at": time, "_id": {"$lt": session_id}}]})
    return {"$and": parts}


def _beginning_with(prefix: str) -> dict[str, str]:
    return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}
