"""A session as a graph: snapshots, reverts, undo and redo, all as points in a log. Nothing is copied or destroyed.

What a point can be is told in `points.py`; forks are in `forks.py`, merging is in `merging.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.encoding import JSON
from sessile.errors import InvalidInput
from sessile.handle import Handle
from sessile.lineage import reverted
from sessile.log import Change, Header
from sessile.points import Snapshot, Target, before, mark_at, resolve, snapshot_draft


async def snapshot(h: Handle, label: str = "", metadata: Mapping[str, JSON] | None = None) -> Snapshot:
    """Label this point of the session, to come back to: one small entry, whatever the session's length."""

    def mark(header: Header) -> Change:
        here = [h.session_id, header.head]
        return Change([snapshot_draft(header, label, metadata)], {"last_snapshot": here, "mark": here})

    (entry,) = await h.commit(mark)
    return Snapshot.of(h.session_id, entry)


async def revert(h: Handle, point: Any) -> Snapshot:
    """Make the session count up to `point` only. Returns a snapshot of where it was: revert to that, and it is undone.

    Raises `InvalidInput` for a point that is none of this session's; nothing is written then.
    """
    return await _go(h, await resolve(h, await h.refresh(), point), "before revert")


async def undo(h: Handle) -> Snapshot:
    """Take back the last turn, and what was said since it began. `redo` brings it back while nothing new is said.

    Returns a snapshot of where it was. `InvalidInput` where there is nothing to take back.
    """
    header = await h.refresh()
    turns = await h.past(header, 1)
    if not turns:
        raise InvalidInput(f"there is no turn to undo in session {h.session_id!r}")
    target = await before(h, header, turns[-1].messages[0]["id"])
    return await _go(h, target, "before undo", redo=await _redo_stack(h, header), undone=True)


async def redo(h: Handle) -> Snapshot:
    """Bring back what `undo` took back last. `InvalidInput` where there is nothing, or something new was said since."""
    header = await h.refresh()
    stack = await _redo_stack(h, header)
    if not stack:
        raise InvalidInput(f"there is nothing to redo in session {h.session_id!r}: undo comes first, and nothing said between")
    target = await resolve(h, header, stack[-1])
    return await _go(h, target, "before redo", redo=stack[:-1])


async def _redo_stack(h: Handle, header: Header) -> list[str]:
    """The ids of the snapshots that `redo` goes to, the next one last: kept in the last entry, if that is an undo's."""
    if not header.head:
        return []
    (last,) = await h.read(h.session_id, header.head - 1, header.head)
    return list(last.body.get("redo", ())) if last.kind == "revert" else []


async def _go(h: Handle, target: Target, label: str, *, redo: list[str] | None = None, undone: bool = False) -> Snapshot:
    """Commit a snapshot of where the session is and a revert to the target, in one."""
    mark = await mark_at(h, await h.open(), target)

    def back(header: Header) -> Change:
        here = snapshot_draft(header, label)
        change = reverted(header, target.lineage, count=target.count, state=target.state, position=header.head + 1)
        (draft,) = change.drafts
        draft.body["redo"] = [*(redo or ()), *([here.id] if undone else ())]
        return Change([here, draft], {**change.fields, "last_snapshot": [h.session_id, header.head], "mark": mark})

    here, _ = await h.commit(back, on_conflict="rebase")
    return Snapshot.of(h.session_id, here)
