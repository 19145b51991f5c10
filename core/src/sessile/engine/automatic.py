"""Automatic snapshots: points to go back to, before tools that are hard to undo, and behind turns.

They carry {"automatic": True}. A session keeps the latest of them only (`checkpoint_keep`): what was said stays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from sessile.conversation.turn import Turn
from sessile.engine.handle import Handle
from sessile.errors import Conflict
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import Header
from sessile.log.lineage import pieces_backwards, snapshot_draft
from sessile.log.stamping import Change


class Turns(NamedTuple):
    """How many turns had been taken at the last automatic snapshot, and now."""

    before: int
    now: int


async def before_tools(h: Handle, names: list[str]) -> None:
    """Take a snapshot before risky tools run. With on_conflict="raise", raises `Conflict` if somebody changed the session."""
    await _take_snapshot(h, lambda turns: f"before {', '.join(names)}")


async def after_turn(h: Handle, turn: Turn) -> None:
    """Keep the point behind every `checkpoint_interval` turns, and where a plugin's `want_snapshot` names one.

    If others keep committing first (or once, with on_conflict="raise"), no snapshot is taken: the turn itself succeeded.
    """
    with suppress(Conflict):
        if h.checkpoint_interval and _interval_passed(h, await _count_turns(h, await h.open(), enough=h.checkpoint_interval)):
            await _take_snapshot(h, lambda turns: f"after {turns.now} turns" if _interval_passed(h, turns) else None)
    for label in await h.hook("want_snapshot", turn=turn):
        with suppress(Conflict):
            await _take_snapshot(h, lambda turns, label=label: str(label))  # type: ignore[misc]


def _interval_passed(h: Handle, turns: Turns) -> bool:
    before, now = (number // h.checkpoint_interval for number in turns)
    return now > before


async def _take_snapshot(h: Handle, label: Callable[[Turns], str | None]) -> None:
    """An automatic snapshot of this label, which depends on the turns (see `_count_turns`); None: none is made."""

    async def prepare(header: Header) -> Change | None:
        turns = await _count_turns(h, header)
        text = label(turns)
        if text is None:
            return None
        kept = [*header.automatic, [header.depth, header.head]][-h.checkpoint_keep :]
        return Change([snapshot_draft(header, text, {"automatic": True, "turns": turns.now})], {"automatic": kept})

    await h.commit_after(prepare)


async def _count_turns(h: Handle, header: Header, *, enough: int | None = None) -> Turns:
    """The turns, counted from the last automatic snapshot, so that no handle needs to have seen them all.

    enough: so many since then are counted at least, if there are; None: all, as other handles count on from there.
    """
    before = start = 0
    if header.automatic:
        depth, position = header.automatic[-1]
        before = (await h.entry(depth, position)).body["metadata"].get("turns", 0)
        start = position + 1 if depth == header.depth else 0
    count = 0
    for piece in pieces_backwards(Segment(header.depth, start, header.head), 4 * (enough or 0) + 1):
        count += len([entry for entry in await h.read(piece, MESSAGE) if _ends_turn(entry)])
        if enough is not None and count >= enough:
            break
    return Turns(before, before + count)


def _ends_turn(entry: Entry) -> bool:
    return entry.turn is not None and entry.body["role"] == "assistant" and "tool_calls" not in entry.body
