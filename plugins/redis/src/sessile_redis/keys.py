"""The names of keys, and headers as they lie in a Redis hash.

A session's keys share the hash tag `{id}`. A header is a hash with a JSON value a field; fields that are empty need not
be there. Indexes are sorted sets of session ids by the time of the last change, one for each value of a field.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.encoding import from_json, to_json
from sessile.errors import CorruptStore
from sessile.ids import RESERVED, file_name
from sessile.log import Header
from sessile.store import Query

INDEXED = ("parent", "root", "user_id")  # the narrowest first
_EMPTY = (None, "", [], {})


class Keys:
    """The keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.known = f"{prefix}:index"  # the set of all indexes, and "*" once each session is in them
        self.headers = f"{prefix}:{{*}}:header"  # a pattern

    def header(self, session_id: str) -> str:
        return f"{self.prefix}:{{{file_name(session_id)}}}:header"

    def log(self, session_id: str) -> str:
        return f"{self.prefix}:{{{file_name(session_id)}}}:log"

    def channel(self, session_id: str) -> str:
        """Where a new version is told."""
        return f"{self.prefix}:{{{file_name(session_id)}}}:changes"

    def index(self, field: str, value: str) -> str:
        return f"{self.prefix}:index:{field}:{file_name(value)}"

    def indexes(self, session_id: str, header: Mapping[str, Any]) -> list[str]:
        """The indexes a session is in."""
        everyone = self.index("all", "own" if session_id.startswith(RESERVED) else "sessions")
        return [everyone, *(self.index(field, header[field]) for field in INDEXED if header.get(field))]

    def asked(self, query: Query) -> str:
        """The index to look through for a query."""
        for field in INDEXED:
            if value := getattr(query, field):
                return self.index(field, value)
        return self.index("all", "own" if query.prefix.startswith(RESERVED) else "sessions")


def to_hash(changes: Mapping[str, Any], *, new: bool) -> list[str]:
    """Header fields as arguments of HSET; of a new header, only those that are not empty."""
    return [part for name, value in changes.items() if not (new and value in _EMPTY) for part in (name, to_json(value))]


def from_hash(stored: Mapping[bytes, bytes], key: str) -> Header | None:
    """The header in a hash; None where there is none."""
    if not stored:
        return None
    fields = (b'"%b":%b' % item for item in stored.items() if not item[0].startswith(b"_"))
    try:
        return Header.from_dict(from_json(b"{%b}" % b",".join(fields)))
    except ValueError as error:
        raise CorruptStore(f"the hash {key!r} is no session header ({error}): delete it, or restore a copy") from error
