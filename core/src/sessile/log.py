"""The log: entries, the header beside them, and the one pure function that turns drafts into a commit.

A session is an append-only log of entries, numbered 0, 1, 2, … without holes, and a small header: the folded view.
`lineage` in the header says which ranges of which logs count: a fork begins with its parent's, a revert cuts it.
"""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs

from sessile.encoding import JSON, converter, from_json, portable, to_json
from sessile.errors import CorruptStore
from sessile.ids import RESERVED, new_id

DEFAULT_USER = "default_user"
CREATED, ACTIVE, SAVED, ARCHIVED = STATUSES = ("created", "active", "saved", "archived")
DELETED = "deleted"  # no session is there any more for anybody, though its deletion may not have come to its end


@attrs.frozen
class Segment:
    """The entries `start` (inclusive) to `stop` (exclusive; None: open) of one log."""

    session_id: str
    start: int
    stop: int | None = None


def _segments(lineage: Iterable[Any]) -> tuple[Segment, ...]:
    return tuple(part if isinstance(part, Segment) else Segment(**part) for part in lineage) if lineage else ()


@portable
@attrs.frozen(kw_only=True, slots=False)  # without slots an instance is made in half the time
class Entry:
    """One line of a log.

    kind: "message", "state", "snapshot", "revert", "turn", …; `body` holds what belongs to that kind.
    turn: id of the turn it belongs to, which is the id of the message that began it; None outside of turns.
    time: seconds since 1970 (UTC) by the writer's clock; for people only, the order is the position's.
    count: messages in the session up to and including this entry.
    base: position in this log of the last entry at or before this one that carries state; -1 for none.
    prev: hash of the entry before it (see `hash`), across forks too.
    """

    position: int
    kind: str
    id: str
    time: float
    body: dict[str, Any]
    turn: str | None = None
    count: int = 0
    base: int = -1
    prev: str = ""
    extra: dict[str, Any] = attrs.field(factory=dict)

    @functools.cached_property
    def json(self) -> str:
        """The entry as one line of canonical JSON: what a store keeps, and what is hashed."""
        return to_json(self._plain())

    @property
    def hash(self) -> str:
        """The first 128 bits of the SHA-256 of `json`, as 32 hexadecimal digits."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:32]

    def _plain(self) -> dict[str, JSON]:  # by hand: this is on the path of every append
        data: dict[str, JSON] = {"position": self.position, "kind": self.kind, "id": self.id, "time": self.time}
        data["body"] = self.body
        if self.turn is not None:
            data["turn"] = self.turn
        if self.count:
            data["count"] = self.count
        if self.base >= 0:
            data["base"] = self.base
        if self.prev:
            data["prev"] = self.prev
        return {**self.extra, **data} if self.extra else data

    @classmethod
    def from_json(cls, text: str | bytes) -> Entry:
        """The entry that `json` wrote; `CorruptStore` where it is none."""
        try:
            data = from_json(text)
            entry = cls(**data)  # nearly always just these fields: a third of what the converter takes
            if type(entry.position) is int and type(entry.body) is dict:
                return entry
        except ValueError as error:
            raise CorruptStore(f"an entry is not JSON: {text[:80]!r} ({error})") from error
        except TypeError:
            pass
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: dict[str, JSON]) -> Entry:
        """The entry of these JSON values; `CorruptStore` where a field is missing or of a wrong type."""
        try:
            entry: Entry = converter.structure(data, cls)
        except Exception as error:  # whatever a converter raises, the data is not an entry
            raise CorruptStore(f"not an entry: {str(data)[:80]} ({type(error).__name__}: {error})") from error
        return entry


@portable
@attrs.frozen(kw_only=True, slots=False)
class Header:
    """The folded view of a session, kept beside its log and replaced with every commit.

    version: one more with every commit; 0 for a session that is not stored yet. It begins at a random number, so that a
    session that was deleted and made anew is never taken for the old one. head: entries in its own log.
    count: messages that count now. base, hash: of the last entry (see `Entry`). commit: id of the last commit.
    parent: the session it was forked from; root: the first of that line ("" for one that is no fork).
    last_snapshot: [log, position] of the last snapshot that was asked for; each names the one before it.
    mark: [log, position] of the last of those that counts, where a fork's begin.
    automatic: [log, position] of the last snapshots that were made by themselves, oldest first.
    lineage: the ranges of logs that count, oldest first; empty means all of its own.
    lease: {"token", "until"} of who may commit alone (see `exclusive.py`); None where nobody ever asked for that.
    renamed: where logs are now that its entries and lineage know by an older name (see `deletion.py`).
    """

    session_id: str
    user_id: str = DEFAULT_USER
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
    last_snapshot: list[Any] | None = None
    mark: list[Any] | None = None
    automatic: list[Any] = attrs.field(factory=list)
    lineage: tuple[Segment, ...] = attrs.field(default=(), converter=_segments)
    lease: dict[str, Any] | None = None
    renamed: dict[str, str] = attrs.field(factory=dict)
    state: dict[str, Any] = attrs.field(factory=dict)
    metadata: dict[str, Any] = attrs.field(factory=dict)
    extra: dict[str, Any] = attrs.field(factory=dict)

    def where(self, log: str) -> str:
        """The id a log is stored under, from the name that entries and lineage have for it."""
        return self.renamed.get(log, log)

    @property
    def hidden(self) -> bool:
        """Is it no session that anybody may see, but a log kept for its forks, or one being deleted?"""
        return self.status == DELETED or self.session_id.startswith(RESERVED)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The ranges that count, with their ends filled in."""
        last = self.lineage[-1] if self.lineage else Segment(self.session_id, 0)
        return (*self.lineage[:-1], Segment(last.session_id, last.start, self.head))

    def to_dict(self) -> dict[str, JSON]:
        """All fields as JSON values; `from_dict` reads them."""
        data: dict[str, JSON] = converter.unstructure(self)
        return data

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

    @classmethod
    def from_dict(cls, data: Mapping[str, JSON]) -> Header:
        """The header of these JSON values; `CorruptStore` where a field is missing or of a wrong type."""
        try:
            return cls(**data)  # nearly always just these fields: a fifth of what the converter takes
        except TypeError:
            pass
        try:
            header: Header = converter.structure(data, cls)
        except Exception as error:  # whatever a converter raises, the data is not a header
            raise CorruptStore(f"not a session header: {str(data)[:80]} ({type(error).__name__}: {error})") from error
        return header

    def after(self, changes: Mapping[str, JSON]) -> Header:
        """This header once the `changes` of a commit (JSON values) are in it."""
        if "lineage" in changes or "extra" in changes or not changes.keys() <= self.__dict__.keys():
            return attrs.evolve(self, **changes)
        after = object.__new__(Header)  # on the path of every commit: a tenth of what evolve takes
        after.__dict__.update(self.__dict__)
        after.__dict__.update(changes)
        return after


@attrs.frozen(slots=False)
class Draft:
    """An entry to be: what is known of it before its place in the log is."""

    kind: str
    body: dict[str, Any]
    id: str = attrs.field(factory=new_id)
    turn: str | None = None
    count: int | None = None  # messages after it, where that is not simply one more
    time: float | None = None  # when it was said, where that is not now


@attrs.frozen(slots=False)
class Change:
    """What a commit is to do: entries to append, and header fields to set (JSON values)."""

    drafts: Sequence[Draft] = ()
    fields: Mapping[str, JSON] = attrs.field(factory=dict)


def stamp(header: Header, change: Change, now: float) -> tuple[list[Entry], dict[str, JSON]]:
    """The entries and header changes that put `change` behind `header`: pure, so it can be done again after a conflict."""
    entries: list[Entry] = []
    position, count, base, prev = header.head, header.count, header.base, header.hash
    for draft in change.drafts:
        if draft.kind == "message":
            count += 1
        elif "state" in draft.body or draft.kind == "state":
            base = position
        if draft.count is not None:
            count = draft.count
        entry = Entry(
            position=position,
            kind=draft.kind,
            id=draft.id,
            time=now if draft.time is None else draft.time,
            body=draft.body,
            turn=draft.turn,
            count=count,
            base=base,
            prev=prev,
        )
        entries.append(entry)
        position, prev = position + 1, entry.hash
    version = (header.version or random.getrandbits(40)) + 1
    changes: dict[str, JSON] = {"version": version, "updated_at": now}
    if entries:
        changes.update(head=position, count=count, base=base, hash=prev, commit=entries[-1].id)
        if header.status != ACTIVE:
            changes["status"] = ACTIVE
    else:
        changes["commit"] = new_id()
    changes.update(change.fields)
    if not header.version:
        born = {**header.to_dict(), "created_at": header.created_at or now}
        changes = {**born, **changes}
    return entries, changes
