"""Bringing two sessions together, and telling what they differ in. What they share is known from their lineages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import attrs

from sessile.conversation.messages import Message, from_entry, handed_out
from sessile.drive.arguments import Check
from sessile.drive.faces import IsSession
from sessile.engine.handle import Handle
from sessile.engine.state import ABSENT, Policy, check_policy, decide, state_draft
from sessile.errors import AccessDenied, InvalidInput
from sessile.graph.forks import begin_fork
from sessile.graph.points import Point, Target, end_of, resolve
from sessile.log.encoding import JSON, copied, json_value, same, to_json
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import Header
from sessile.log.lineage import shared, without
from sessile.log.stamping import Change, copy_of

AnySession = Annotated[IsSession, Check(lambda value: not isinstance(value, type), "a session")]


async def merge(
    h: Handle, other: AnySession, *, policy: Policy = "ours", session_id: str | None = None, title: str = ""
) -> Handle:
    """A new session with what both sessions said: what they share once, the rest by time, turns whole.

    other: a session of the same user, in the same store. policy: which value a state key gets that both changed since
    they parted: "ours", "theirs", "raise" (`Conflict`), or a function of (key, ours, theirs).
    """
    check_policy(policy)
    theirs = _handle_of(h, other)
    if theirs is None or theirs.session_id == h.session_id:
        raise InvalidInput(f"{other!r} cannot be merged into session {h.session_id!r}: pass another session")
    ours_now, theirs_now = await h.refresh(), await theirs.refresh()
    if (ours_now.user_id, ours_now.app) != (theirs_now.user_id, theirs_now.app):
        raise AccessDenied(
            f"session {theirs.session_id!r} belongs to another user or application than {h.session_id!r}: they are not merged"
        )
    both = shared(await h.lineage(ours_now), ours_now, await theirs.lineage(theirs_now), theirs_now)
    begin = await end_of(h, both[-1] if both else None)
    state = _merged_state(begin.state, ours_now.state, theirs_now.state, policy)
    sides = [await _turns_after(side, now, both) for side, now in ((h, ours_now), (theirs, theirs_now))]
    drafts = [*map(copy_of, _by_time(*sides))]
    fields = {"title": json_value(title, "title"), "count": begin.count + len(drafts)}
    if not same(state, begin.state):
        drafts.append(state_draft(state))
        fields["state"] = state
    return await begin_fork(h, ours_now, begin, session_id, Change(drafts, fields))


async def _turns_after(h: Handle, header: Header, both: Sequence[Segment]) -> list[list[Entry]]:
    """The message entries behind what both share, as turns in the order they began."""
    turns: dict[object, list[Entry]] = {}
    for part in without(await h.lineage(header), both):
        for entry in await h.read(part, MESSAGE):
            turns.setdefault(entry.turn or (part.depth, entry.position), []).append(entry)
    return list(turns.values())


def _turn_of(entry: Entry) -> str:
    return entry.turn or entry.id


def _told(entry: Entry) -> tuple[str, float, str]:
    """A key that a message shares with its copies. The id alone is not enough: a caller may use one id twice."""
    return entry.id, entry.time, to_json(entry.body)


def _by_time(ours: list[list[Entry]], theirs: list[list[Entry]]) -> list[Entry]:
    """Both sides' turns, each side in its own order, the earlier first.

    An earlier merge leaves copies with the same ids. If a turn grew after it was copied, its new messages join the copy.
    """
    turns = {_turn_of(turn[0]): turn for turn in ours}
    known = {_told(entry) for turn in ours for entry in turn}
    rest: list[list[Entry]] = []
    for turn in theirs:
        since = [entry for entry in turn if _told(entry) not in known]
        copy = turns.get(_turn_of(turn[0])) if len(since) < len(turn) else None
        if copy is not None:
            copy += since
        elif since:  # new, or known by single messages only, that were set as a history
            rest.append(since)
    theirs = rest
    merged: list[Entry] = []
    while ours and theirs:
        merged += (ours if ours[0][0].time <= theirs[0][0].time else theirs).pop(0)
    return [*merged, *(entry for turn in (*ours, *theirs) for entry in turn)]


def _merged_state(base: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any], policy: Policy) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for key in sorted({*ours, *theirs}):
        was, our, their = (state.get(key, ABSENT) for state in (base, ours, theirs))
        if same(our, their) or same(their, was):
            value = our
        elif same(our, was):
            value = their
        else:
            value = decide(policy, key, our, their)
        if value is not ABSENT:
            merged[key] = value
    return merged


# -- differences


@attrs.frozen
class Diff:
    """What two points differ in: `shared` messages at the beginning, then those of one side only; state keys as (a, b).

    A message that a merge has copied, under its id, is on both sides.
    """

    shared: int
    a: list[Message]
    b: list[Message]
    state: dict[str, tuple[JSON, JSON]]


async def diff(h: Handle, a: Point | AnySession, b: Point | AnySession | None = None) -> Diff:
    """What point or session `a` has that `b` has not, and the other way round (b: default this session as it is now)."""
    (handle_a, now_a, end_a), (handle_b, now_b, end_b) = await _side(h, a), await _side(h, b)
    line_a, line_b = await _line(handle_a, now_a, end_a), await _line(handle_b, now_b, end_b)
    both = shared(line_a, now_a, line_b, now_b)
    begin = await end_of(handle_a, both[-1] if both else None)
    keys = sorted({*end_a.state, *end_b.state})
    changed = {key: (end_a.state.get(key), end_b.state.get(key)) for key in keys}
    in_a, in_b = await _messages_after(handle_a, line_a, both), await _messages_after(handle_b, line_b, both)
    copies = {*map(_said, in_a)} & {*map(_said, in_b)}
    return Diff(
        begin.count,
        [said for said in in_a if _said(said) not in copies],
        [said for said in in_b if _said(said) not in copies],
        {key: (copied(one), copied(other)) for key, (one, other) in changed.items() if not same(one, other)},
    )


def _said(said: Message) -> str:
    """As `_told`, of a message."""
    return to_json({name: value for name, value in said.items() if name != "turn"})


def _handle_of(h: Handle, other: Any) -> Handle | None:
    """The handle of another session, of either face, for code of this one's; None for what is no session."""
    if not isinstance(getattr(other, "_handle", None), Handle):
        return None
    if other._store != h.session._store:
        raise InvalidInput(
            f"session {other._handle.session_id!r} is in another store: open both in one, or import it there first"
        )
    found: Handle = other._seen_by(h.face.awaits)._handle
    return found


async def _side(h: Handle, point: Any) -> tuple[Handle, Header, Target]:
    other = _handle_of(h, point)
    if other is not None:
        header = await other.refresh()
        ours = await h.open()
        if (header.user_id, header.app) != (ours.user_id, ours.app):
            raise AccessDenied(
                f"session {other.session_id!r} is of another user or application than {h.session_id!r}: they are not compared"
            )
        return other, header, await end_of(other, header.segments[-1])
    header = await h.refresh()
    return h, header, await resolve(h, header, header.count if point is None else point)


async def _line(h: Handle, header: Header, end: Target) -> list[Segment]:
    return await h.lineage(header, end.last) if end.last else []


async def _messages_after(h: Handle, lineage: Sequence[Segment], both: Sequence[Segment]) -> list[Message]:
    found: list[Message] = []
    for part in without(lineage, both):
        found += handed_out(map(from_entry, await h.read(part, MESSAGE)))
    return found
