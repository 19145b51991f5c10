"""Checkpoints and versions: the names that agent frameworks have for snapshots."""

from __future__ import annotations

from typing import Any

from sessile.engine.handle import Handle
from sessile.engine.lifecycle import moment
from sessile.engine.state import state_change
from sessile.graph.merging import AnySession, merge
from sessile.graph.points import Point, Snapshot, resolve, snapshots, snapshots_at
from sessile.graph.snapshots import marked, revert, snapshot
from sessile.log.header import Header
from sessile.log.stamping import Change


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
        if not there:
            return None
        state = (await resolve(h, header, found)).state
        return state_change(header, state, keep=set(state))

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


async def merge_sessions(h: Handle, other: AnySession) -> Handle:
    """`merge` into a new session whose id is this one's with "_merged" behind it."""
    return await merge(h, other, session_id=f"{h.session_id}_merged")
