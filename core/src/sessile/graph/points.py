"""Points of a session: what a snapshot, a label, a message or a number of messages comes to.

A point is a `Snapshot`, its id or label, a `Message`, or a number of messages from the beginning (negative: from the end).
One that falls between a tool call and its results is moved behind the last of them; one that was counted from the end is
moved before the call, so that -1 always takes something back.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import attrs

from sessile.conversation.messages import Message, from_entry, handed_out
from sessile.conversation.prompt.past import unanswered
from sessile.engine.handle import Handle
from sessile.engine.history import not_there
from sessile.errors import InvalidInput
from sessile.log.encoding import copied
from sessile.log.entries import FORK, MESSAGE, REVERT, Entry, Segment
from sessile.log.header import Header
from sessile.log.ids import owner_of
from sessile.log.lineage import before as range_before
from sessile.log.lineage import pieces_backwards

_NEAR = 128  # entries looked through for the results of a tool call


@attrs.frozen
class Snapshot:
    """A labelled point of a session: the entry at `position` of a log, with `count` messages up to there.

    session_id: whose log it is, this session's or one's that it was forked from. time: seconds since 1970 (UTC).
    """

    id: str
    label: str
    session_id: str
    position: int
    count: int
    time: float
    metadata: dict[str, Any]
    depth: int = attrs.field(repr=False)

    @classmethod
    def of(cls, header: Header, depth: int, entry: Entry) -> Snapshot:
        """The snapshot that an entry holds, which a session with this header made or inherited."""
        body, session_id = entry.body, owner_of(header.log_at(depth))
        metadata = copied(body["metadata"])
        return cls(entry.id, body["label"], session_id, entry.position, entry.count, entry.time, metadata, depth)


@attrs.frozen
class Target:
    """A resolved point: the range that ends there (None: the empty beginning), the number of messages, and the state.

    base: [depth, position] of the entry that says what the state is; None for none. hash: of the last entry.
    snapshot: [depth, position] of the snapshot that it is, if it is one.
    """

    last: Segment | None = None
    count: int = 0
    state: dict[str, Any] = attrs.field(factory=dict)
    base: list[int] | None = None
    hash: str = ""
    snapshot: list[int] | None = None


Point = Snapshot | str | int | Message  # see the module's text


async def snapshots(h: Handle) -> list[Snapshot]:
    """The snapshots of this session and of what it was forked from, oldest first; those behind a revert too.

    Each names the one before it, and the header names the automatic ones: no log has to be searched.
    """
    return await snapshots_at(h, await h.refresh())


async def snapshots_at(h: Handle, header: Header) -> list[Snapshot]:
    """As `snapshots`, of a header."""
    found = {s.id: s async for s in _latest_first(h, header)}  # by id: a fork may have begun at an automatic one
    return sorted(found.values(), key=lambda s: (s.depth, s.position))


async def _latest_first(h: Handle, header: Header) -> AsyncIterator[Snapshot]:
    """The snapshots, newest first. Lazy, so that a caller who looks for one can stop early."""
    automatic = [list(at) for at in header.automatic]
    at = header.last_snapshot
    while at is not None or automatic:
        if at is None or (automatic and automatic[-1] >= list(at)):
            depth, position = automatic.pop()
            yield Snapshot.of(header, depth, await h.entry(depth, position))
            continue
        entry = await h.entry(*at)
        if header.holds(*at):
            yield Snapshot.of(header, at[0], entry)
        at = entry.body["previous"]


async def mark_at(h: Handle, header: Header, target: Target) -> list[int] | None:
    """[depth, position] of the last snapshot that counts at a target; None for none.

    All that the header's mark leads to count now, and what counts is in order of depth and position.
    """
    at = target.snapshot or header.mark
    end = (target.last.depth, target.last.stop or 0) if target.last else (0, 0)
    while at is not None and tuple(at) >= end:
        at = (await h.entry(*at)).body["mark"]
    return at


async def resolve(h: Handle, header: Header, point: Any) -> Target:
    """What a point comes to. `InvalidInput` for one that is none of this session's."""
    if isinstance(point, str):
        point = await _named(h, header, point)
    if isinstance(point, Snapshot):
        return await _at_snapshot(h, header, point)
    if isinstance(point, Message) and point.id is not None:
        part, entry = await find_message(h, header, point.id)
        return await _at_entry(h, part, await _whole(h, part, entry))
    if isinstance(point, int) and not isinstance(point, bool) and -header.count <= point <= header.count:
        return await _at_count(h, header, point) if point >= 0 else await _at_count(h, header, header.count + point, back=True)
    raise InvalidInput(
        f"{point!r:.60} is not a point in session {h.session_id!r}: pass a snapshot, its label, a message, or a number of "
        f"messages up to {header.count}"
    )


async def _named(h: Handle, header: Header, name: str) -> Snapshot:
    """The latest snapshot of an id or label."""
    if not name:  # the label of all that have none
        raise InvalidInput("'' is no point: pass a snapshot, its label, a message, or a number of messages")
    async for snapshot in _latest_first(h, header):
        if name in (snapshot.id, snapshot.label):
            return snapshot
    raise InvalidInput(f"session {h.session_id!r} has no snapshot {name!r}: session.snapshots() lists those there are")


async def _at_snapshot(h: Handle, header: Header, point: Snapshot) -> Target:
    entry = await h.entry(point.depth, point.position) if header.holds(point.depth, point.position) else None
    if entry is None or entry.id != point.id:
        raise InvalidInput(f"snapshot {point.label or point.id!r} is of session {point.session_id!r}, not of {h.session_id!r}")
    target = await _at_entry(h, Segment(point.depth, entry.body["start"]), entry)
    return attrs.evolve(target, snapshot=[point.depth, point.position])


async def message(h: Handle, message_id: str) -> Message:
    """The message of an id (a copy). `InvalidInput` where it does not count in this session."""
    _, entry = await find_message(h, await h.refresh(), message_id)
    return handed_out([from_entry(entry)])[0]


async def find_message(h: Handle, header: Header, message_id: str) -> tuple[Segment, Entry]:
    """A message that counts, and the range that it is in. `InvalidInput` where there is none."""
    async for part in h.ranges(header):
        for piece in pieces_backwards(part, 256):
            for entry in reversed(await h.read(piece, MESSAGE)):
                if entry.id == message_id:
                    return part, entry
    raise not_there(h.session_id, message_id)


async def _at_count(h: Handle, header: Header, count: int, *, back: bool = False) -> Target:
    """The point where `count` messages had been said. back: before a tool call that it would separate from its results."""
    if count == header.count:
        return await end_of(h, header.segments[-1])
    while count:
        part, entry = await _counted(h, header, count)
        whole = await _whole(h, part, entry)
        if whole is entry or not back:
            return await _at_entry(h, part, whole)
        count -= 1
    return Target()


async def _counted(h: Handle, header: Header, count: int) -> tuple[Segment, Entry]:
    """The message with this number, and its range. Found by binary search, as each entry holds the number of messages so far."""
    async for part in h.ranges(header):
        first = await h.entry(part.depth, part.start)
        if first.count > count or (first.count == count and first.kind != MESSAGE):
            continue  # it was said before
        low, high = part.start, (part.stop or 0) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if (await h.entry(part.depth, middle)).count >= count else (middle + 1, high)
        return part, await h.entry(part.depth, low)
    raise InvalidInput(f"session {h.session_id!r} has no {count} messages")


async def end_of(h: Handle, last: Segment | None) -> Target:
    """The point at the end of a range; None, or a range without entries, is where nothing has been said."""
    if last is None or not last.stop:
        return Target()
    return await _at_entry(h, last, await h.entry(last.depth, last.stop - 1))


async def _at_entry(h: Handle, part: Segment, entry: Entry) -> Target:
    """The point behind an entry of a range."""
    state, base = await state_at(h, part.depth, entry.base)
    return Target(Segment(part.depth, part.start, entry.position + 1), entry.count, state, base, entry.hash)


async def _whole(h: Handle, part: Segment, entry: Entry) -> Entry:
    """The entry, or where its tool calls' last result is: a point never separates a call from its result."""
    if "tool_calls" not in entry.body and entry.body.get("role") != "tool":
        return entry
    near = Segment(part.depth, max(part.start, entry.position - _NEAR), min(part.stop or 0, entry.position + _NEAR))
    same = [e for e in await h.read(near, MESSAGE) if e.turn == entry.turn]
    pending = [call["id"] for call in unanswered(from_entry(e) for e in same if e.position <= entry.position)]
    for later in same:
        if later.position > entry.position and later.body.get("tool_call_id") in pending:
            pending.remove(later.body["tool_call_id"])
            entry = later
    return entry


async def to_go_back_to(h: Handle, target: Target) -> Target:
    """The target as a revert names it: without a last range in which nothing counts but that it began there.

    Else each time that somebody takes back the last message and says it anew, one more such range would have to be read.
    """
    last = target.last
    while last is not None and last.stop == last.start + 1:
        entry = await h.entry(last.depth, last.start)
        if entry.kind not in (REVERT, FORK):
            break
        last = range_before(entry)
    return target if last == target.last else attrs.evolve(target, last=last)


async def state_at(h: Handle, depth: int, base: int) -> tuple[dict[str, Any], list[int] | None]:
    """The state that an entry says, and [depth, position] of the state entry that it is from; ({}, None) for none.

    A revert and a fork name the state entry that they go back to; a state entry carries the whole state, or what changed.
    """
    changes: list[dict[str, Any]] = []
    origin: list[int] | None = None
    state: dict[str, Any] = {}
    while base >= 0:
        entry = await h.entry(depth, base)
        if entry.kind in (REVERT, FORK):
            depth, base = entry.body["state_at"] or (depth, -1)
            continue
        origin = origin or [depth, base]
        if "state" in entry.body:
            state = dict(entry.body["state"])
            break
        changes.append(entry.body)
        base = entry.body["after"]
    for body in reversed(changes):
        state = {key: value for key, value in {**state, **body["set"]}.items() if key not in body["delete"]}
    return state, origin


async def before(h: Handle, header: Header, message_id: str) -> Target:
    """The point just before a message."""
    return await just_before(h, *await find_message(h, header, message_id))


async def just_before(h: Handle, part: Segment, entry: Entry) -> Target:
    """The point just before an entry of a range."""
    if entry.position > part.start:
        return await end_of(h, Segment(part.depth, part.start, entry.position))
    return await end_of(h, range_before(entry))
