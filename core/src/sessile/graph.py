"""A session as a graph: snapshots, reverts, forks, merges, all as points in a log. Nothing is copied or destroyed.

A point is a `Snapshot`, its id or label, a `Message`, or a number of messages from the beginning (negative: from the end).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from sessile.encoding import JSON, converter, json_value
from sessile.errors import AccessDenied, Conflict, InvalidInput, SessionExists
from sessile.handle import Handle
from sessile.ids import check_id, new_id
from sessile.lineage import chunks_backwards, common, cut, reverted, without
from sessile.log import Change, Draft, Entry, Header, Segment
from sessile.messages import Message

Policy = str | Callable[[str, JSON, JSON], JSON]
Lineage = tuple[Segment, ...]


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
class _Target:
    """What a point comes to: the lineage that counts there, how many messages, the state, and the last entry's hash."""

    lineage: Lineage
    count: int
    state: dict[str, Any]
    hash: str


async def snapshot(h: Handle, label: str = "", metadata: Mapping[str, JSON] | None = None) -> Snapshot:
    """Label this point of the session, to come back to: one small entry, whatever the session's length."""
    (entry,) = await h.commit(lambda header: Change([_snapshot_draft(header, label, metadata or {})]))
    return Snapshot.of(h.session_id, entry)


def _snapshot_draft(header: Header, label: str, metadata: Mapping[str, JSON]) -> Draft:
    lineage = header.lineage or (Segment(header.session_id, 0),)
    body = {
        "label": json_value(str(label), "label"),
        "metadata": _plain(metadata),
        "lineage": converter.unstructure(lineage),
        "state": header.state,
    }
    return Draft("snapshot", body)


async def snapshots(h: Handle) -> list[Snapshot]:
    """The snapshots of this session and of what it was forked from, oldest first; those behind a revert too."""
    header = await h.refresh()
    inherited = header.segments[:-1]
    parts = [*(s for s in inherited if s.session_id != h.session_id), Segment(h.session_id, 0, header.head)]
    found = []
    for part in parts:
        entries = await h.face.call(h.store.read, part.session_id, part.start, part.stop, "snapshot")
        found += [Snapshot.of(part.session_id, entry) for entry in entries]
    return found


async def revert(h: Handle, point: Any) -> Snapshot:
    """Make the session count up to `point` only. Returns a snapshot of where it was: revert to that, and it is undone.

    Raises `InvalidInput` for a point that is none of this session's; nothing is written then.
    """
    target = await _resolve(h, await h.refresh(), point)

    def back(header: Header) -> Change:
        before = _snapshot_draft(header, "before revert", {})
        change = reverted(header, target.lineage, count=target.count, state=target.state, position=header.head + 1)
        return Change([before, *change.drafts], change.fields)

    before, _ = await h.commit(back, on_conflict="rebase")
    return Snapshot.of(h.session_id, before)


async def fork(
    h: Handle, at: Any = None, session_id: str | None = None, *, title: str = "", metadata: Mapping[str, JSON] | None = None
) -> Any:
    """A new session that begins with this one's messages up to `at` (default: all). Nothing is copied.

    `SessionExists` where `session_id` is taken.
    """
    header = await h.refresh()
    target = await _resolve(h, header, header.count if at is None else at)
    child = h.sibling(new_id() if session_id is None else check_id(session_id), header.user_id)
    await _found(child, header.session_id, target, Change(fields={"title": title, "metadata": _plain(metadata)}))
    return h.session.another(child)


async def _found(child: Handle, parent: str, target: _Target, more: Change) -> None:
    """Commit the beginning of a session that goes on from `target`, with `more` behind it."""
    if (await child.refresh()).version:
        raise SessionExists(f"session {child.session_id!r} exists already: choose another session_id")
    lineage = converter.unstructure((*target.lineage, Segment(child.session_id, 0)))
    begin = Draft("fork", {"from": parent, "hash": target.hash, "state": target.state}, count=target.count)
    fields = {"parent": parent, "lineage": lineage, "state": target.state, "count": target.count + len(more.drafts)}
    await child.commit(lambda _: Change([begin, *more.drafts], {**fields, **more.fields}), on_conflict="raise")


async def merge(h: Handle, other: Any, *, policy: Policy = "ours", session_id: str | None = None, title: str = "") -> Any:
    """A new session with what both sessions said: what they share once, the rest by time, turns whole.

    other: a session of the same user, in the same store. policy: which value a state key gets that both changed since
    they parted: "ours", "theirs", "raise" (`Conflict`), or a function of (key, ours, theirs).
    """
    theirs = getattr(other, "_handle", None)
    if not isinstance(theirs, Handle) or theirs.session_id == h.session_id:
        raise InvalidInput(f"{other!r} cannot be merged into session {h.session_id!r}: pass another session")
    ours_now, theirs_now = await h.refresh(), await theirs.refresh()
    if ours_now.user_id != theirs_now.user_id:
        raise AccessDenied(f"session {theirs.session_id!r} belongs to another user than {h.session_id!r}: they are not merged")
    shared = common(ours_now.segments, theirs_now.segments)
    begin = await _end_of(h, shared)
    state = _merged_state(begin.state, ours_now.state, theirs_now.state, policy)
    sides = [await _turns_after(side, now, shared) for side, now in ((h, ours_now), (theirs, theirs_now))]
    drafts = [Draft("message", m.body, id=m.id, turn=m.turn, time=m.time) for m in _by_time(*sides)]
    if state != begin.state:
        drafts.append(Draft("state", {"set": state, "delete": [], "state": state}))
    child = h.sibling(new_id() if session_id is None else check_id(session_id), ours_now.user_id)
    messages = sum(draft.kind == "message" for draft in drafts)
    fields = {"title": title, "state": state, "count": begin.count + messages}
    await _found(child, h.session_id, begin, Change(drafts, fields))
    return h.session.another(child)


async def _turns_after(h: Handle, header: Header, shared: Lineage) -> list[list[Entry]]:
    """The message entries behind the shared lineage, as turns in the order they began."""
    turns: dict[str, list[Entry]] = {}
    for part in without(header.segments, shared):
        for entry in await h.face.call(h.store.read, part.session_id, part.start, part.stop, "message"):
            turns.setdefault(entry.turn or entry.id, []).append(entry)
    return list(turns.values())


def _by_time(ours: list[list[Entry]], theirs: list[list[Entry]]) -> list[Entry]:
    """Both sides' turns, each side in its own order, the earlier first."""
    merged: list[Entry] = []
    while ours and theirs:
        merged += (ours if ours[0][0].time <= theirs[0][0].time else theirs).pop(0)
    return [*merged, *(entry for turn in (*ours, *theirs) for entry in turn)]


def _merged_state(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], policy: Policy) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in sorted({*ours, *theirs}):
        was, our, their = (state.get(key, _ABSENT) for state in (base, ours, theirs))
        if our == their or their == was:
            value = our
        elif our == was:
            value = their
        elif policy == "raise":
            raise Conflict(f"state key {key!r} is {our!r:.60} here and {their!r:.60} there: pass a policy")
        else:
            value = policy(key, our, their) if callable(policy) else their if policy == "theirs" else our
        if value is not _ABSENT:
            merged[key] = value
    return merged


_ABSENT = object()


# -- points


async def _resolve(h: Handle, header: Header, point: Any) -> _Target:
    if isinstance(point, str):
        found = [s for s in await snapshots(h) if point in (s.id, s.label)]
        if not found:
            raise InvalidInput(f"session {h.session_id!r} has no snapshot {point!r}: session.snapshots() lists those there are")
        point = found[-1]
    if isinstance(point, Snapshot):
        return await _at_snapshot(h, point)
    if isinstance(point, Message):
        return await _at_message(h, header, point.id)
    if isinstance(point, int) and -header.count <= point <= header.count:
        return await _at_count(h, header, point if point >= 0 else header.count + point)
    raise InvalidInput(
        f"{point!r:.60} is no point of session {h.session_id!r}: pass a snapshot, its label, a message, or a number of messages "
        f"up to {header.count}"
    )


async def _at_snapshot(h: Handle, point: Snapshot) -> _Target:
    if point not in await snapshots(h):
        raise InvalidInput(f"snapshot {point.label or point.id!r} is of session {point.session_id!r}, not of {h.session_id!r}")
    (entry,) = await h.face.call(h.store.read, point.session_id, point.position, point.position + 1)
    return _Target(point.lineage, point.count, point.state, entry.hash)


async def _at_message(h: Handle, header: Header, message_id: str) -> _Target:
    for piece in chunks_backwards(header.segments, 256):
        for entry in await h.face.call(h.store.read, piece.session_id, piece.start, piece.stop, "message"):
            if entry.id == message_id:
                return await _at_entry(h, header, piece.session_id, entry)
    raise InvalidInput(f"message {message_id!r} does not count in session {h.session_id!r}: it is another's, or was reverted")


async def _at_count(h: Handle, header: Header, count: int) -> _Target:
    """The point where `count` messages had been said: each entry carries its number, so it is a binary search."""
    if not count:
        return _Target((), 0, {}, "")
    if count == header.count:
        return await _end_of(h, header.segments)
    for part in header.segments:
        last = await _entry(h, part.session_id, (part.stop or 0) - 1) if part.stop != part.start else None
        if last is None or last.count < count:
            continue
        low, high = part.start, (part.stop or 0) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if (await _entry(h, part.session_id, middle)).count >= count else (middle + 1, high)
        return await _at_entry(h, header, part.session_id, await _entry(h, part.session_id, low))
    raise InvalidInput(f"session {h.session_id!r} has no {count} messages")


async def _end_of(h: Handle, segments: Lineage) -> _Target:
    """The point at the end of a lineage."""
    parts = [part for part in segments if part.stop != part.start]
    if not parts:
        return _Target((), 0, {}, "")
    entry = await _entry(h, parts[-1].session_id, (parts[-1].stop or 0) - 1)
    state = await _state_at(h, parts[-1].session_id, entry)
    return _Target(tuple(parts), entry.count, state, entry.hash)


async def _at_entry(h: Handle, header: Header, log: str, entry: Entry) -> _Target:
    return _Target(cut(header.segments, log, entry.position), entry.count, await _state_at(h, log, entry), entry.hash)


async def _entry(h: Handle, log: str, position: int) -> Entry:
    (entry,) = await h.face.call(h.store.read, log, position, position + 1)
    found: Entry = entry
    return found


async def _state_at(h: Handle, log: str, entry: Entry) -> dict[str, Any]:
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


def _plain(metadata: Mapping[str, JSON] | None) -> dict[str, Any]:
    plain: dict[str, Any] = json_value(dict(metadata or {}), "metadata")
    return plain


# -- integrity


@attrs.frozen
class Verification:
    """What `verify` found: how many entries it read, and the first problem with its log and position ("" for none)."""

    entries: int
    problem: str = ""

    def __bool__(self) -> bool:
        return not self.problem


async def verify(h: Handle) -> Verification:
    """Check every entry of the session's logs: none is missing, and each carries the hash of the one before it."""
    header = await h.refresh()
    ends = {part.session_id: part.stop or 0 for part in header.segments[:-1]}
    ends[h.session_id] = header.head
    count = 0
    for log, end in ends.items():
        position, last = 0, ""
        while position < end:
            entries = await h.face.call(h.store.read, log, position, min(position + 4096, end))
            for entry in entries:
                if problem := _broken(entry, position, last):
                    return Verification(count, f"entry {position} of {log!r} {problem}")
                position, last, count = position + 1, entry.hash, count + 1
            if not entries:
                return Verification(count, f"entry {position} of {log!r} is missing")
        if log == h.session_id and last != header.hash:
            return Verification(count, f"the last entry of {log!r} is not the one that its header names")
    return Verification(count)


def _broken(entry: Entry, position: int, last: str) -> str:
    if entry.position != position:
        return "is missing"
    return "was altered, or the one before it" if entry.prev != last else ""
