"""Points of a session: what a snapshot, a label, a message or a number of messages comes to.

A point is a `Snapshot`, its id or label, a `Message`, or a number of messages from the beginning (negative: from the end).
One that falls between a tool call and its results is moved behind the last of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from sessile.encoding import JSON, converter, json_value
from sessile.errors import CorruptStore, InvalidInput
from sessile.handle import Handle
from sessile.lineage import chunks_backwards, counts, cut
from sessile.log import Draft, Entry, Header, Segment
from sessile.messages import Message, from_entry
from sessile.past import unanswered

Lineage = tuple[Segment, ...]
_NEAR = 128  # entries looked through for the results of a tool call


@attrs.frozen
class Snapshot:
    """A labelled point of a session: `position` in the log of `session_id`, with `count` messages up to there."""

    id: str
    label: str
    session_id: str
    position: int
    count: int
    time: float
    metadata: dict[str, Any]
    lineage: Lineage = attrs.field(repr=False)
    state: dict[str, Any] = attrs.field(repr=False)

    @classmethod
    def of(cls, log: str, entry: Entry) -> Snapshot:
        body = entry.body
        lineage = cut(converter.structure(body["lineage"], Lineage), log, entry.position)
        return cls(
            entry.id, body["label"], log, entry.position, entry.count, entry.time, body["metadata"], lineage, body["state"]
        )


@attrs.frozen
class Target:
    """What a point comes to: the lineage that counts there, how many messages, the state, and the last entry's hash.

    snapshot: [log, position] of the snapshot that it is, if it is one.
    """

    lineage: Lineage
    count: int
    state: dict[str, Any]
    hash: str
    snapshot: list[Any] | None = None


def snapshot_draft(header: Header, label: str, metadata: Mapping[str, JSON] | None = None) -> Draft:
    """The entry of a snapshot: small, but for the state, which it carries whole."""
    lineage = header.lineage or (Segment(header.session_id, 0),)
    body = {
        "label": json_value(str(label), "label"),
        "metadata": json_value(dict(metadata or {}), "metadata"),
        "lineage": converter.unstructure(lineage),
        "state": header.state,
        "previous": header.last_snapshot,
        "mark": header.mark,
    }
    return Draft("snapshot", body)


async def snapshots(h: Handle) -> list[Snapshot]:
    """The snapshots of this session and of what it was forked from, oldest first; those behind a revert too.

    Each names the one before it, and the header names those that were made by themselves: no log has to be searched.
    """
    header = await h.refresh()
    found: list[Snapshot] = []
    at = header.last_snapshot
    while at is not None:
        entry = await _entry(h, *at)
        if _reaches(header, *at):
            found.append(Snapshot.of(at[0], entry))
        at = entry.body["previous"]
    found += [Snapshot.of(log, await _entry(h, log, position)) for log, position in header.automatic]
    logs = [part.session_id for part in header.segments]
    once = {found.id: found for found in found}.values()  # a fork may have begun at one made by itself
    return sorted(once, key=lambda s: (logs.index(s.session_id) if s.session_id in logs else len(logs), s.position))


def _reaches(header: Header, log: str, position: int) -> bool:
    """Is this entry in the session's own log, or in the part of another that it was forked from?"""
    return header.where(log) == header.session_id or counts(header.segments[:-1], log, position)


async def mark_at(h: Handle, header: Header, target: Target) -> list[Any] | None:
    """[log, position] of the last snapshot that counts at a target; None for none."""
    at = target.snapshot or header.mark
    while at is not None and not counts(target.lineage, *at):
        at = (await _entry(h, *at)).body["mark"]
    return at


def inherited_automatic(header: Header, target: Target) -> list[Any]:
    """[log, position] of the snapshots made by themselves that a fork from a target inherits."""
    return [at for at in header.automatic if counts(target.lineage, *at)]


async def resolve(h: Handle, header: Header, point: Any) -> Target:
    if isinstance(point, str):
        found = [s for s in await snapshots(h) if point in (s.id, s.label)]
        if not found:
            raise InvalidInput(f"session {h.session_id!r} has no snapshot {point!r}: session.snapshots() lists those there are")
        point = found[-1]
    if isinstance(point, Snapshot):
        return await _at_snapshot(h, header, point)
    if isinstance(point, Message):
        return await _at_entry(h, header, *await _whole(h, header, *await find_message(h, header, point.id)))
    if isinstance(point, int) and -header.count <= point <= header.count:
        return await _at_count(h, header, point if point >= 0 else header.count + point)
    raise InvalidInput(
        f"{point!r:.60} is no point of session {h.session_id!r}: pass a snapshot, its label, a message, or a number of messages "
        f"up to {header.count}"
    )


async def _at_snapshot(h: Handle, header: Header, point: Snapshot) -> Target:
    found = []
    if _reaches(header, point.session_id, point.position):
        found = await h.read(point.session_id, point.position, point.position + 1)
    if not found or found[0].id != point.id:
        raise InvalidInput(f"snapshot {point.label or point.id!r} is of session {point.session_id!r}, not of {h.session_id!r}")
    point = Snapshot.of(point.session_id, found[0])
    return Target(point.lineage, point.count, point.state, found[0].hash, [point.session_id, point.position])


async def find_message(h: Handle, header: Header, message_id: str) -> tuple[str, Entry]:
    """(log, entry) of a message that counts, looked for from the end; `InvalidInput` where there is none."""
    for piece in chunks_backwards(header.segments, 256):
        for entry in await h.read(piece.session_id, piece.start, piece.stop or 0, "message"):
            if entry.id == message_id:
                return piece.session_id, entry
    raise InvalidInput(f"message {message_id!r} does not count in session {h.session_id!r}: it is another's, or was reverted")


async def _at_count(h: Handle, header: Header, count: int) -> Target:
    """The point where `count` messages had been said: each entry carries its number, so it is a binary search."""
    if count == header.count:
        return await end_of(h, header.segments)
    if not count:
        return Target((), 0, {}, "")
    for part in header.segments:
        last = await _entry(h, part.session_id, (part.stop or 0) - 1) if part.stop != part.start else None
        if last is None or last.count < count:
            continue
        low, high = part.start, (part.stop or 0) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if (await _entry(h, part.session_id, middle)).count >= count else (middle + 1, high)
        last = await _entry(h, part.session_id, low)
        return await _at_entry(h, header, *await _whole(h, header, part.session_id, last))
    raise InvalidInput(f"session {h.session_id!r} has no {count} messages")


async def end_of(h: Handle, segments: Lineage) -> Target:
    """The point at the end of a lineage."""
    parts = [part for part in segments if part.stop != part.start]
    if not parts:
        return Target((), 0, {}, "")
    entry = await _entry(h, parts[-1].session_id, (parts[-1].stop or 0) - 1)
    state = await state_at(h, parts[-1].session_id, entry)
    return Target(tuple(parts), entry.count, state, entry.hash)


async def _at_entry(h: Handle, header: Header, log: str, entry: Entry) -> Target:
    return Target(cut(header.segments, log, entry.position), entry.count, await state_at(h, log, entry), entry.hash)


async def _whole(h: Handle, header: Header, log: str, entry: Entry) -> tuple[str, Entry]:
    """The entry, or where its tool calls' last result is: a point never separates a call from its result."""
    (part,) = [s for s in header.segments if s.session_id == log and s.start <= entry.position < (s.stop or 0)]
    if "tool_calls" not in entry.body and entry.body.get("role") != "tool":
        return log, entry
    start = max(part.start, entry.position - _NEAR)
    around = await h.read(log, start, min(part.stop or 0, entry.position + _NEAR), "message")
    same = [e for e in around if e.turn == entry.turn]
    pending = unanswered(from_entry(e) for e in same if e.position <= entry.position)
    for later in same:
        if pending and later.position > entry.position and later.body.get("tool_call_id") in pending:
            pending.discard(later.body["tool_call_id"])
            entry = later
    return log, entry


async def _entry(h: Handle, log: str, position: int) -> Entry:
    found = await h.read(log, position, position + 1)
    if not found:
        raise CorruptStore(f"entry {position} of {log!r} is missing: sessile session verify {h.session_id} tells what else is")
    return found[0]


async def state_at(h: Handle, log: str, entry: Entry) -> dict[str, Any]:
    """The state as of an entry: that of the last entry that carries it whole, and what was changed since."""
    changes: list[dict[str, Any]] = []
    base = entry.base
    while base >= 0:
        body = (await _entry(h, log, base)).body
        if "state" in body:
            state = dict(body["state"])
            break
        changes.append(body)
        base = body["after"]
    else:
        state = {}
    for body in reversed(changes):
        state = {key: value for key, value in {**state, **body["set"]}.items() if key not in body["delete"]}
    return state


async def before(h: Handle, header: Header, message_id: str) -> Target:
    """The point just before a message."""
    at = await _at_entry(h, header, *await find_message(h, header, message_id))
    *whole, last = at.lineage
    if last.stop is not None and last.stop - 1 > last.start:
        return await end_of(h, (*whole, Segment(last.session_id, last.start, last.stop - 1)))
    return await end_of(h, tuple(whole))
