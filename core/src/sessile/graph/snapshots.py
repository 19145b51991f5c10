"""A session as a graph: snapshots, reverts, undo and redo, all as points in a log. Nothing is copied or destroyed.

What a point can be is told in `points.py`; forks are in `forks.py`, merging is in `merging.py`. Whatever goes back works its
target out for the header that it commits behind: where somebody else commits first, it looks again (`on_conflict="raise"`:
it raises `Conflict`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sessile.engine.handle import Handle
from sessile.engine.history import last_turn
from sessile.errors import InvalidInput
from sessile.graph.points import Point, Snapshot, Target, before, mark_at, resolve, to_go_back_to
from sessile.log.encoding import JSON
from sessile.log.entries import REVERT, SNAPSHOT, Entry, Segment
from sessile.log.header import Header
from sessile.log.lineage import pieces_backwards, reverted, snapshot_draft
from sessile.log.stamping import Change, Draft, copy_of


async def snapshot(h: Handle, label: str = "", metadata: Mapping[str, JSON] | None = None) -> Snapshot:
    """Label this point of the session, to come back to: one small entry, whatever the session's length."""
    return await _snapshot_in(h, await h.commit(lambda header: marked(header, label, metadata)))


def marked(header: Header, label: str, metadata: Mapping[str, JSON] | None = None) -> Change:
    """A snapshot behind a header."""
    here = [header.depth, header.head]
    return Change([snapshot_draft(header, label, metadata)], {"last_snapshot": here, "mark": here})


async def revert(h: Handle, point: Point) -> Snapshot:
    """Go back to `point`: later messages no longer count. Returns a snapshot of the state before, to revert the revert.

    The state becomes what it was when the last message up to there was said; behind `revert(0)` it is empty ("user:", "app:"
    and "temp:" keys stay: they are not the session's). -1 takes back the last message, with the call and all the results
    where that is a tool's result.
    Raises `InvalidInput` for a point that is none of this session's; nothing is written then.
    """

    async def back(header: Header) -> Change:
        return await _back(h, header, await resolve(h, header, point), "before revert")

    return await _snapshot_in(h, await h.commit_after(back))


async def undo(h: Handle) -> Snapshot:
    """Take back the last turn, and what was said since it began. `redo` brings it back while nothing new is said.

    Returns a snapshot of where it was. `InvalidInput` where there is nothing to take back.
    """

    async def back(header: Header) -> Change:
        last = await last_turn(h, header)
        if last is None:
            raise InvalidInput(f"there is no turn to undo in session {h.session_id!r}")
        target = await before(h, header, last.messages[0]["id"])
        stack, _ = await _redo_stack(h, header)
        return await _back(h, header, target, "before undo", redo=stack, undone=True)

    return await _snapshot_in(h, await h.commit_after(back))


async def redo(h: Handle) -> Snapshot:
    """Bring back what `undo` took back last. `InvalidInput` where there is nothing, or something new was said since."""

    async def forth(header: Header) -> Change:
        stack, since = await _redo_stack(h, header)
        if not stack:
            raise InvalidInput(
                f"there is nothing to redo in session {h.session_id!r}: nothing was undone since something was said"
            )
        target = await resolve(h, header, stack[-1])
        return await _back(h, header, target, "before redo", redo=stack[:-1], since=since)

    return await _snapshot_in(h, await h.commit_after(forth))


async def _redo_stack(h: Handle, header: Header) -> tuple[list[str], list[Draft]]:
    """The ids of the snapshots that `redo` goes to, the next one last: kept in the last entry, if that is an undo's.

    Entries of plugins' own may be behind that: they take nothing back, and say nothing new. Copies of them.
    """
    since: list[Draft] = []
    for piece in pieces_backwards(Segment(header.depth, 0, header.head), 1):
        for entry in reversed(await h.read(piece)):
            if "." not in entry.kind:
                return list(entry.body.get("redo", ())) if entry.kind == REVERT else [], since
            since.insert(0, copy_of(entry))
    return [], since


async def _back(
    h: Handle,
    header: Header,
    target: Target,
    label: str,
    *,
    redo: Sequence[str] = (),
    undone: bool = False,
    since: Sequence[Draft] = (),
) -> Change:
    """One commit: a snapshot of the present, then a revert to the target. since: entries to keep, appended after it."""
    here = snapshot_draft(header, label)
    target = await to_go_back_to(h, target)
    change = reverted(
        header,
        target.last,
        count=target.count,
        state=target.state,
        base=target.base,
        position=header.head + 1,
        redo=[*redo, *([here.id] if undone else ())],
    )
    fields = {"last_snapshot": [header.depth, header.head], "mark": await mark_at(h, header, target)}
    return Change([here, *change.drafts, *since], {**change.fields, **fields})


async def _snapshot_in(h: Handle, entries: list[Entry]) -> Snapshot:
    header = await h.open()
    return next(Snapshot.of(header, header.depth, entry) for entry in entries if entry.kind == SNAPSHOT)
