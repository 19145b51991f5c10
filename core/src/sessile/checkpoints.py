"""Checkpoints and versions, the names that agent frameworks have for snapshots; and automatic snapshots.

Automatic ones carry {"automatic": True}; a session keeps the latest of them only (`checkpoint_keep`), as points to go
back to: what was said stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sessile.graph import revert, snapshot
from sessile.handle import Handle
from sessile.lifecycle import moment
from sessile.log import Change, Header
from sessile.merging import AnySession, merge
from sessile.points import Point, Snapshot, resolve, snapshot_draft, snapshots
from sessile.state import set_state

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
    """Keep the state as it is now as a version. Returns its number, from 0."""
    number = len(await list_versions(h))
    await snapshot(h, description, {"version": number})
    return number


async def restore_version(h: Handle, version: int) -> bool:
    """Make the state what it was in a version (messages stay). False where there is no such version."""
    for found in await snapshots(h):
        if found.metadata.get("version") == version:
            await set_state(h, (await resolve(h, await h.open(), found)).state)
            return True
    return False


async def list_versions(h: Handle) -> list[dict[str, Any]]:
    """[{"version", "timestamp", "description"}] of the versions, oldest first; timestamps are aware datetimes (UTC)."""
    return [
        {"version": s.metadata["version"], "timestamp": moment(s.time), "description": s.label}
        for s in await snapshots(h)
        if "version" in s.metadata
    ]


async def merge_sessions(h: Handle, other: AnySession) -> Any:
    """`merge` into a new session whose id is this one's with "_merged" behind it."""
    return await merge(h, other, session_id=f"{h.session_id}_merged")


async def _automatic(h: Handle, label: str) -> None:
    def mark(header: Header) -> Change:
        kept = [*header.automatic, [header.depth, header.head]][-h.checkpoint_keep :]
        return Change([snapshot_draft(header, label, {"automatic": True})], {"automatic": kept})

    await h.commit(mark, on_conflict="rebase")


async def before_tools(h: Handle, names: list[str]) -> None:
    """Keep the point before tools run that are hard to undo."""
    await _automatic(h, f"before {', '.join(names)}")


async def after_turn(h: Handle, turn: Turn) -> None:
    """Keep the point behind every `checkpoint_interval` turns, and where a plugin's `want_snapshot` names one."""
    h.turns += 1
    if h.checkpoint_interval and h.turns % h.checkpoint_interval == 0:
        await _automatic(h, f"after {h.turns} turns")
    for label in await h.hook("want_snapshot", turn=turn):
        await _automatic(h, str(label))
