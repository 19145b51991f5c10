"""The names of keys, and headers as they lie in a Redis hash.

A session's keys share the hash tag `{id}`: its header, a hash with a JSON value a field (fields that are empty need not be
there), and its logs, lists with an entry a line of JSON. Indexes are sorted sets (see `index.py`) and share a hash tag, too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import quote, unquote

import attrs

from sessile.errors import CorruptStore
from sessile.store import RESERVED, Header, Query, from_json, to_json

INDEXED = ("parent", "root", "user_id")  # the narrowest first
IDENTITY = ("log", *INDEXED)  # the header fields that say where a session lies
_EMPTY = (None, "", [], {})
_FIELDS = {field.name for field in attrs.fields(Header)}


@attrs.frozen
class Place:
    """Where a session lies: what its header says of that, and the keys of its log and of the indexes it is in."""

    identity: str
    log: str
    indexes: tuple[str, ...]


class Keys:
    """The keys of one prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.headers = f"{prefix}:{{*}}:header"  # a pattern
        self.logs = f"{prefix}:{{*}}:log:*"  # a pattern
        self._index = f"{prefix}:index:{{{prefix}}}"
        self.known = f"{self._index}:all"  # the set of all indexes, and what says that it is whole
        self.everyone = self.index("sessions", ""), self.index("own", "")

    def _tag(self, session_id: str) -> str:
        return f"{self.prefix}:{{{_encoded(session_id)}}}"

    def header(self, session_id: str) -> str:
        return f"{self._tag(session_id)}:header"

    def log(self, log: str) -> str:
        """The key of a log's entries, by its id."""
        random, _, owner = log.partition(".")
        return f"{self.logs_of(owner)}{random}"

    def logs_of(self, session_id: str) -> str:
        """What the keys of the logs begin with that were made for a session."""
        return f"{self._tag(session_id)}:log:"

    def log_id(self, key: str) -> str:
        """The id of the log that a key is of."""
        owner, _, random = key.removeprefix(f"{self.prefix}:{{").partition("}:log:")
        return f"{random}.{unquote(owner)}"

    def channel(self, session_id: str) -> str:
        """Where a new version is told."""
        return f"{self._tag(session_id)}:changes"

    def index(self, field: str, value: str) -> str:
        return f"{self._index}:{field}:{_encoded(value)}"

    def place(self, session_id: str, header: Mapping[str, Any]) -> Place:
        """Where a session with such header fields lies."""
        identity = "".join(to_json(header[name]) for name in IDENTITY if header.get(name))
        indexes = [self.index(field, header[field]) for field in INDEXED if header.get(field)]
        everyone = self.everyone[session_id.startswith(RESERVED)]
        return Place(identity, self.log(header.get("log") or f".{session_id}"), (everyone, *indexes))

    def lists(self, index: str, header: Header) -> bool:
        """Does a session belong in an index?"""
        if index in self.everyone:
            return index == self.everyone[header.session_id.startswith(RESERVED)]
        return any(index == self.index(field, value) for field in INDEXED if (value := getattr(header, field)))

    def asked(self, query: Query) -> str:
        """The index to look through for a query."""
        for field in INDEXED:
            if value := getattr(query, field):
                return self.index(field, value)
        return self.everyone[query.reserved]


@functools.lru_cache(10_000)
def _encoded(text: str) -> str:
    """A text without what has a meaning in keys; two texts never get the same."""
    return quote(text, safe="@+=/")


def to_hash(changes: Mapping[str, Any], *, new: bool) -> list[str]:
    """Header fields as arguments of HSET; of a new header, only those that are not empty."""
    return [part for name, value in changes.items() if not (new and _empty(name, value)) for part in (name, to_json(value))]


def _empty(name: str, value: Any) -> bool:
    """Need a field not be stored? Those of newer versions always are."""
    return name in _FIELDS and (value in _EMPTY or value is False)


def from_hash(stored: Mapping[bytes, bytes], key: str) -> Header | None:
    """The header in a hash; None where there is none."""
    if not stored:
        return None
    fields = (b'"%b":%b' % item for item in stored.items())
    try:
        return Header.from_dict(from_json(b"{%b}" % b",".join(fields)))
    except (ValueError, CorruptStore) as error:
        raise CorruptStore(
            f"the hash {key!r} is no session header ({error}): delete the session, or restore a copy", user_id=_user(stored)
        ) from error


def _user(stored: Mapping[bytes, bytes]) -> str | None:
    """Whose session it is, where the hash says so."""
    with suppress(ValueError):
        user_id = from_json(stored.get(b"user_id", b"null"))
        return user_id if isinstance(user_id, str) else None
    return None


def from_list(done: list[bytes], key: str) -> Header | None:
    """The header in what a script returns of a hash: names and values in turns."""
    return from_hash(dict(zip(done[::2], done[1::2], strict=True)), key)
