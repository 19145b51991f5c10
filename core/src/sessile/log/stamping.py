"""Stamping: the one pure function that turns drafts into a commit."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from sessile.log.encoding import JSON
from sessile.log.entries import CARRY_STATE, MESSAGE, Entry
from sessile.log.header import ACTIVE, Header
from sessile.log.ids import new_id

_HASH = 16  # characters of an entry's hash in the id of its commit


@attrs.frozen(slots=False)
class Draft:
    """An entry to be: what is known of it before its place in the log is."""

    kind: str
    body: dict[str, Any]
    id: str = attrs.field(factory=new_id)
    turn: str | None = None
    count: int | None = None  # messages after it, where that is not simply one more
    time: float | None = None  # when it was said, where that is not now
    raw: str | None = None


@attrs.frozen(slots=False)
class Change:
    """What a commit is to do: entries to append, and header fields to set (JSON values)."""

    drafts: Sequence[Draft] = ()
    fields: Mapping[str, JSON] = attrs.field(factory=dict)


def copy_of(entry: Entry) -> Draft:
    """The draft of an entry that is to count once more: the same, at another place in the log."""
    return Draft(entry.kind, entry.body, id=entry.id, turn=entry.turn, time=entry.time, raw=entry.raw)


def stamp(header: Header, change: Change, now: float) -> tuple[list[Entry], dict[str, JSON]]:
    """The entries and header changes that put `change` behind `header`: pure, so it can be done again after a conflict."""
    entries: list[Entry] = []
    position, count, base, prev = header.head, header.count, header.base, header.hash
    for draft in change.drafts:
        if draft.kind == MESSAGE:
            count += 1
        elif draft.kind in CARRY_STATE:
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
            raw=draft.raw,
        )
        entries.append(entry)
        position, prev = position + 1, entry.hash
    changes = next_version(header, now, new_commit_id(entries))
    if entries:
        changes.update(head=position, count=count, base=base, hash=prev)
        if header.status != ACTIVE:
            changes["status"] = ACTIVE
    changes.update(change.fields)
    if not header.version:
        born = {**header.to_dict(), "created_at": header.created_at or now}
        changes = {**born, **changes}
    return entries, changes


def altered(entries: Sequence[Entry], start: int, before: str) -> int | None:
    """The position of the first entry that does not follow the one before it: one of the two was altered. None for none.

    start: the first one's position. before: the hash of the entry before that.
    """
    for position, entry in enumerate(entries, start):
        if entry.position != position or entry.prev != before:
            return position
        try:
            before = entry.hash
        except (ValueError, TypeError, RecursionError):  # of a value that nobody can have written
            return position
    return None


def altered_text(position: int, log: str) -> str:
    """What is said of an entry that does not follow the one before it."""
    return f"entry {position} of log {log!r} was altered, or the one before it"


def ends_otherwise(log: str) -> str:
    """What is said where a log's last entry has not the hash that the header has."""
    return f"the last entry of log {log!r} is not the one that its header names"


def clock() -> float:
    """Seconds since 1970, to the microsecond."""
    return round(time.time(), 6)


def new_commit_id(entries: Sequence[Entry]) -> str:
    """An id that no other commit has, though it may end with the same entry: callers give ids, too. See `ends_with`."""
    return (entries[-1].hash[:_HASH] if entries else "") + new_id()


def ends_with(commit: str, last: Entry) -> bool:
    """Is this the id of a commit whose last entry is this one?"""
    return commit.startswith(last.hash[:_HASH])


def next_version(header: Header, now: float, commit: str) -> dict[str, JSON]:
    """The header fields that every commit sets. commit: its id."""
    return {"version": version_after(header.version or random.getrandbits(48), commit), "updated_at": now, "commit": commit}


def version_after(version: int, commit: str) -> int:
    """The version of a header behind a commit: more, by a step that follows from the commit's id.

    So an older copy of a store that is put back, and goes on, does not come to a version that somebody has seen before.
    """
    return version + 1 + (zlib.crc32(commit.encode()) & 0xFFFF)
