"""The header: the folded view of a session, kept beside its log and replaced with every commit.

A log has an id of its own, made with the session and never used again. The header names the logs that the session may
read (its ancestors' and its own), and `lineage` says which ranges of them count: a fork begins with its parent's, a
revert cuts it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import attrs

from sessile.drive.shown import is_encodable
from sessile.errors import CorruptStore
from sessile.log.encoding import JSON, copied
from sessile.log.entries import Segment
from sessile.log.fields import Fields
from sessile.log.ids import RESERVED, owner_of

DEFAULT_USER = "default_user"
CREATED, ACTIVE, SAVED, ARCHIVED = STATUSES = ("created", "active", "saved", "archived")
PENDING = "pending"  # a fork or a copy that is being made: no session yet for anybody else
DELETED = "deleted"  # no session any more for anybody, though its deletion may not have come to its end
UNSEEN = (PENDING, DELETED)


class Ancestor(NamedTuple):
    """A log that a session inherits from: its first `stop` entries (0: none of them)."""

    log: str
    stop: int


def _ancestors(value: Iterable[Any]) -> tuple[Ancestor, ...]:
    found = tuple([Ancestor(*row) for row in value]) if value else ()
    if any(type(row.log) is not str or not owner_of(row.log) or type(row.stop) is not int or row.stop < 0 for row in found):
        raise TypeError("its ancestors are no logs and numbers")
    return found


def _segments(value: Iterable[Any]) -> tuple[Segment, ...]:
    found = tuple([Segment(*part) for part in value]) if value else ()
    for depth, start, stop in found:
        if type(depth) is not int or type(start) is not int or (stop is not None and type(stop) is not int) or depth < 0:
            raise TypeError("its lineage has ranges that are none")
    return found


def _are_ranges(value: Any) -> bool:
    """Is this a lineage as JSON has it?"""
    return type(value) is list and all(
        type(part) is list and [*map(type, part)] in ([int, int], [int, int, int], [int, int, type(None)]) for part in value
    )


@attrs.frozen(kw_only=True, slots=False)
class Header:
    """The folded view of a session, kept beside its log and replaced with every commit.

    app: the application that it belongs to, whose state it shares under "app:"; "" for none.
    log: the id of its own log, "<random>.<session id>"; "" for a session that is not stored yet.
    ancestors: the logs it inherits from, the oldest first, and how many entries of each at most: fixed at its birth.
    parent, root: the last and the first of their ids (None and "" for a session that is no fork).
    version: more with every commit (see `version_after`); 0 for a session that is not stored yet. It begins at a random
    number, so that a session that was deleted and made anew is never taken for the old one. head: entries in its own log.
    count: messages that count now. base, hash: of the last entry (see `Entry`). commit: id of the last commit.
    lineage: the ranges that count, the oldest first; empty means all of its own log. older: more ranges count than
    `lineage` lists: the first entry of the first listed range names the range before it.
    last_snapshot: [depth, position] of the last snapshot that was asked for; each names the one before it.
    mark: [depth, position] of the last snapshot that is still in the current history.
    automatic: [depth, position] of the latest automatic snapshots, oldest first.
    lease: {"token", "until"} of the holder of exclusive use (see `exclusive.py`); None if there never was one.
    kept: until when (seconds since 1970) a store that lets sessions expire keeps what this one inherits; None: for ever.
    """

    session_id: str
    log: str = ""
    user_id: str = DEFAULT_USER
    app: str = ""
    version: int = 0
    head: int = 0
    count: int = 0
    base: int = -1
    hash: str = ""
    commit: str = ""
    status: str = CREATED
    created_at: float = 0.0
    updated_at: float = 0.0
    title: str = ""
    parent: str | None = None
    root: str = ""
    ancestors: tuple[Ancestor, ...] = attrs.field(default=(), converter=_ancestors)
    lineage: tuple[Segment, ...] = attrs.field(default=(), converter=_segments)
    older: bool = False
    last_snapshot: list[int] | None = None
    mark: list[int] | None = None
    automatic: list[list[int]] = attrs.field(factory=list)
    lease: dict[str, Any] | None = None
    kept: float | None = None
    state: dict[str, Any] = attrs.field(factory=dict)
    metadata: dict[str, Any] = attrs.field(factory=dict)
    extra: dict[str, Any] = attrs.field(factory=dict)

    @property
    def hidden(self) -> bool:
        """True for internal records and for sessions that are being made or deleted. Users never see those."""
        return self.status in UNSEEN or self.session_id.startswith(RESERVED)

    @property
    def depth(self) -> int:
        """The depth of its own log."""
        return len(self.ancestors)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The ranges of `lineage`, with the last one's end filled in."""
        last = self.lineage[-1] if self.lineage else Segment(self.depth, 0)
        return (*self.lineage[:-1], Segment(last.depth, last.start, self.head))

    @property
    def changed_at(self) -> float:
        """When it was last changed, or else created (seconds since 1970)."""
        return self.updated_at or self.created_at

    def log_at(self, depth: int) -> str:
        """The id of the log at a depth: an ancestor's, or its own."""
        return self.log if depth == len(self.ancestors) else self.ancestors[depth].log

    def counts(self, depth: int, position: int) -> bool:
        """Is an entry in one of the ranges that `lineage` names? A far older one may count though it is in none of them."""
        return any(part.depth == depth and part.start <= position < (part.stop or 0) for part in self.segments)

    def holds(self, depth: int, position: int) -> bool:
        """Is an entry in its own log, or in what it inherited, whether it counts now or not?"""
        if depth == len(self.ancestors):
            return 0 <= position < self.head
        return 0 <= depth < len(self.ancestors) and 0 <= position < self.ancestors[depth].stop

    def to_dict(self) -> dict[str, JSON]:
        """All fields as JSON values; `from_dict` reads them."""
        data = {name: value for name, value in self.__dict__.items() if name in _HEADER.names}
        data["ancestors"] = [list(row) for row in self.ancestors]
        data["lineage"] = [list(part) for part in self.lineage]
        return {**self.extra, **data}

    def summary(self) -> dict[str, JSON]:
        """What a list of sessions shows: ids, title, status, count and times (seconds since 1970, UTC)."""
        return {
            "session_id": self.session_id,
            "user_id": self.user_id,
            "title": self.title,
            "status": self.status,
            "message_count": self.count,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def copy(self) -> Header:
        """The same header for somebody else: what is changed in its dicts and lists changes nothing in this one's."""
        copy = object.__new__(Header)
        values = copy.__dict__
        values.update(self.__dict__)
        for name in _MUTABLE:
            values[name] = copied(values[name])
        return copy

    @classmethod
    def from_dict(cls, data: Mapping[str, JSON]) -> Header:
        """The header of these JSON values; `CorruptStore` where a field is missing or of a wrong type."""
        header = _HEADER.build(data)
        ids = header.session_id + header.log + header.user_id
        if not ids.isascii() and not is_encodable(ids):
            raise CorruptStore("not a session header: an id in it has a lone surrogate")
        if header.lineage and max(part.depth for part in header.lineage) > header.depth:
            raise CorruptStore(f"not a session header: its lineage names a log at a depth below {header.depth}, its own")
        return header

    def after(self, changes: Mapping[str, JSON]) -> Header:
        """This header once the `changes` of a commit (JSON values) are in it."""
        if not changes.keys() <= _PLAIN_FIELDS:
            if not changes.keys() <= _PLAIN_FIELDS | {"lineage"} or not _are_ranges(changes["lineage"]):
                return Header.from_dict({**self.to_dict(), **changes})
            changes = {**changes, "lineage": _segments(changes["lineage"])}
        after = object.__new__(Header)  # on the path of every commit: a tenth of what evolve takes
        after.__dict__.update(self.__dict__)
        after.__dict__.update(changes)
        return after


_HEADER = Fields(
    Header,
    "a session header",
    dict.fromkeys(["session_id", "log", "user_id", "app", "status", "title"], str)  # the ids, and what users get,
    | dict.fromkeys(["version", "head", "count"], int)  # what commits are built on,
    | {"updated_at": float, "state": dict, "metadata": dict},
)
_UNSET = Header(session_id="").to_dict()
_PLAIN_FIELDS = _HEADER.names - {"ancestors", "lineage"}
_MUTABLE = ("last_snapshot", "mark", "automatic", "lease", "state", "metadata", "extra")


def is_unset(name: str, value: JSON) -> bool:
    """Is `value` the default of this header field? False for fields that a newer version added."""
    return name in _UNSET and _UNSET[name] == value
