"""Checkpoints and versions, the names that agent frameworks have for snapshots; and automatic snapshots.

Automatic ones carry {"automatic": True}; a session keeps the latest of them only (`checkpoint_keep`), as points to go
back to: what was said stays.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from sessile.errors import Conflict
from sessile.graph import marked, revert, snapshot
from sessile.handle import Handle
from sessile.lifecycle import moment
from sessile.lineage import pieces_backwards
from sessile.log import MESSAGE, Change, Entry, Header, Segment
from sessile.merging import AnySession, merge
from sessile.points import Point, Snapshot, resolve, snapshot_draft, snapshots, snapshots_at
from sessile.state import replaced

if TYPE_CHECKING:
    from sessile.turn import Turn


async def create_checkpoint(h: Handle, label: str = "checkpoint") -> Snapshot:
    """Label this point of the session, to come back to with `restore_checkpoint`."""
    return await snapshot(h, label, {"checkpoint": True})


async def restore_checkpoint(h: Handle, checkpoint: Point) -> Snapshot:
    """Go back to a checkpoint: what `create_checkpoint` returned, its id or label. Returns a snapshot of where it was."""
    return await revert(h, checkpoint)


async def checkpoints(h: Handle) -> list[Snapshot]:
    """The checkpoints, oldest first: those that were asked for, and those that were made automatically and still kept."""
    return [s for s in await snapshots(h) if s.metadata.get("checkpoint") or s.metadata.get("automatic")]


async def save_version(h: Handle, description: str = "") -> int:
    """Keep the state as it is now as a version. Returns its number, from 0: one more than that of the last."""
    number = 0

    async def next_version(header: Header) -> Change:
        nonlocal number
        number = 1 + max([s.metadata["version"] for s in await _versions(h, header)], default=-1)
        return marked(header, description, {"version": number})

    await h.commit_after(next_version)
    return number


async def restore_version(h: Handle, version: int) -> bool:
    """Make the state what it was in a version (messages stay). False where there is no such version."""
    there = False

    async def back(header: Header) -> Change | None:
        nonlocal there
        found = next((s for s in await _versions(h, header) if s.metadata["version"] == version), None)
        there = found is not None
        return replaced(header, (await resolve(h, header, found)).state) if there else None

    await h.commit_after(back)
    return there


async def list_versions(h: Handle) -> list[dict[str, Any]]:
    """[{"version", "timestamp", "description"}] of the versions, oldest first; timestamps are aware datetimes (UTC)."""
    return [
        {"version": s.metadata["version"], "timestamp": moment(s.time), "description": s.label}
        for s in await _versions(h, await h.refresh())
    ]


async def _versions(h: Handle, header: Header) -> list[Snapshot]:
    return [s for s in await snapshots_at(h, header) if "version" in s.metadata]


async def merge_sessions(h: Handle, other: AnySession) -> Any:
    """`merge` into a new session whose id is this one's with "_merged" behind it."""
    return await merge(h, other, session_id=f"{h.session_id}_merged")


async def before_tools(h: Handle, names: list[str]) -> None:
    """Keep the point before tools run that are hard to undo. Under "raise", `Conflict` where somebody has changed the session."""
    await _automatic(h, lambda turns: f"before {', '.join(names)}")


async def after_turn(h: Handle, turn: Turn) -> None:
    """Keep the point behind every `checkpoint_interval` turns, and where a plugin's `want_snapshot` names one.

    None is kept where somebody else commits meanwhile under "raise", or all the time: the turn is stored, and has not failed.
    """
    with suppress(Conflict):
        if h.checkpoint_interval and _due(h, await _turns(h, await h.open())):
            await _automatic(h, lambda turns: f"after {turns[1]} turns" if _due(h, turns) else None)
    for label in await h.hook("want_snapshot", turn=turn):
        with suppress(Conflict):
            await _automatic(h, lambda turns, label=label: str(label))  # type: ignore[misc]


def _due(h: Handle, turns: tuple[int, int]) -> bool:
    before, now = (number // h.checkpoint_interval for number in turns)
    return now > before


async def _automatic(h: Handle, label: Callable[[tuple[int, int]], str | None]) -> None:
    """An automatic snapshot of this label, which depends on the turns that were taken (see `_turns`); None: none is made."""

    async def mark(header: Header) -> Change | None:
        turns = await _turns(h, header)
        text = label(turns)
        if text is None:
            return None
        kept = [*header.automatic, [header.depth, header.head]][-h.checkpoint_keep :]
        return Change([snapshot_draft(header, text, {"automatic": True, "turns": turns[1]})], {"automatic": kept})

    await h.commit_after(mark)


async def _turns(h: Handle, header: Header) -> tuple[int, int]:
    """How many turns had been taken at the last automatic snapshot, and now.

    They are counted from there: no handle needs to have seen them all. No further back than matters for the next one.
    """
    before = start = 0
    if header.automatic:
        depth, position = header.automatic[-1]
        before = (await h.entry(depth, position)).body["metadata"].get("turns", 0)
        start = position + 1 if depth == header.depth else 0
    count = 0
    for piece in pieces_backwards(Segment(header.depth, start, header.head), 4 * h.checkpoint_interval + 1):
        count += len([entry for entry in await h.read(piece, MESSAGE) if _ends_turn(entry)])
        if count >= h.checkpoint_interval:
            break
    return before, before + count


def _ends_turn(entry: Entry) -> bool:
    return entry.turn is not None and entry.body["role"] == "assistant" and "tool_calls" not in entry.body
