"""A session as a graph: snapshots, reverts, undo, forks, all as points in a log. Nothing is copied or destroyed.

What a point can be is told in `points.py`; merging is in `merging.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from sessile.encoding import JSON, converter, json_value
from sessile.errors import InvalidInput, SessionExists
from sessile.handle import Handle
from sessile.ids import check_id, new_id
from sessile.lineage import reverted
from sessile.log import Change, Draft, Header, Segment
from sessile.points import Snapshot, Target, before, find_message, resolve, snapshot_draft
from sessile.store import Query
from sessile.turn import take_turn


async def snapshot(h: Handle, label: str = "", metadata: Mapping[str, JSON] | None = None) -> Snapshot:
    """Label this point of the session, to come back to: one small entry, whatever the session's length."""
    (entry,) = await h.commit(
        lambda header: Change([snapshot_draft(header, label, metadata)], {"last_snapshot": [h.session_id, header.head]})
    )
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
    (last,) = await h.face.call(h.store.read, h.session_id, header.head - 1, header.head)
    return list(last.body.get("redo", ())) if last.kind == "revert" else []


async def _go(h: Handle, target: Target, label: str, *, redo: list[str] | None = None, undone: bool = False) -> Snapshot:
    """Commit a snapshot of where the session is and a revert to the target, in one."""

    def back(header: Header) -> Change:
        here = snapshot_draft(header, label)
        change = reverted(header, target.lineage, count=target.count, state=target.state, position=header.head + 1)
        (draft,) = change.drafts
        draft.body["redo"] = [*(redo or ()), *([here.id] if undone else ())]
        return Change([here, draft], {**change.fields, "last_snapshot": [h.session_id, header.head]})

    here, _ = await h.commit(back, on_conflict="rebase")
    return Snapshot.of(h.session_id, here)


# -- forks


async def fork(
    h: Handle, at: Any = None, session_id: str | None = None, *, title: str = "", metadata: Mapping[str, JSON] | None = None
) -> Any:
    """A new session that begins with this one's messages up to `at` (default: all). Nothing is copied.

    `SessionExists` where `session_id` is taken.
    """
    header = await h.refresh()
    target = await resolve(h, header, header.count if at is None else at)
    fields = {"title": title, "metadata": json_value(dict(metadata or {}), "metadata")}
    child = h.sibling(new_id() if session_id is None else check_id(session_id), header.user_id)
    await begin_fork(child, header, target, Change(fields=fields))
    return h.session.another(child)


async def begin_fork(child: Handle, parent: Header, target: Target, more: Change) -> None:
    """Commit the beginning of a session that goes on from `target`, with `more` behind it."""
    if (await child.refresh()).version:
        raise SessionExists(f"session {child.session_id!r} exists already: choose another session_id")
    lineage = converter.unstructure((*target.lineage, Segment(child.session_id, 0)))
    begin = Draft("fork", {"from": parent.session_id, "hash": target.hash, "state": target.state}, count=target.count)
    fields = {
        "parent": parent.session_id,
        "root": parent.root or parent.session_id,
        "lineage": lineage,
        "state": target.state,
        "count": target.count,
        "last_snapshot": parent.last_snapshot,
    }
    await child.commit(lambda _: Change([begin, *more.drafts], {**fields, **more.fields}), on_conflict="raise")


async def edit(h: Handle, message: Any, content: JSON) -> Any:
    """A fork in which `message` (a `Message` or its id) says `content` instead, and the conversation goes on from there.

    A user's message is answered anew by the session's agent; another's is stored as it is. Returns the fork.
    """
    header = await h.refresh()
    _, entry = await find_message(h, header, message if isinstance(message, str) else message.id)
    child = await _fork_at(h, header, await before(h, header, entry.id))
    if entry.body["role"] == "user":
        await take_turn(child._handle, content, metadata=entry.body.get("metadata") or {})
    else:
        body = {**entry.body, "content": content}
        await child._handle.commit(lambda _: Change([Draft("message", body)]))
    return child


async def regenerate(h: Handle) -> Any:
    """A fork in which the last turn is answered anew. Returns the fork. `InvalidInput` where there is no turn to answer."""
    asked = [said for turn in await h.past(await h.refresh(), 1) for said in turn.messages if said.role == "user"]
    if not asked:
        raise InvalidInput(f"there is no turn to answer anew in session {h.session_id!r}")
    return await edit(h, asked[0], asked[0].content)


async def _fork_at(h: Handle, header: Header, target: Target) -> Any:
    child = h.sibling(new_id(), header.user_id)
    await begin_fork(child, header, target, Change())
    return h.session.another(child)


async def parent(h: Handle) -> str | None:
    """The id of the session that this one was forked from, or None."""
    return (await h.refresh()).parent


async def children(h: Handle) -> list[Header]:
    """The headers of the sessions that were forked from this one, newest change first."""
    return await _all(h, Query(parent=h.session_id, limit=1000))


async def tree(h: Handle) -> dict[str, Any]:
    """The whole tree of forks that this session is in: summaries (see `Header.summary`), each with its "children"."""
    header = await h.refresh()
    root_id = header.root or h.session_id
    root = header if root_id == h.session_id else await h.face.call(h.store.load, root_id)
    headers = [root, *(await _all(h, Query(root=root_id, limit=1000)))]
    nodes = {found.session_id: {**found.summary(), "children": []} for found in headers}
    for found in sorted(headers[1:], key=lambda found: found.created_at):
        nodes[found.parent]["children"].append(nodes[found.session_id])
    top: dict[str, Any] = nodes[root_id]
    return top


async def _all(h: Handle, query: Query) -> list[Header]:
    page = await h.face.call(h.store.find, query)
    found = list(page.items)
    while page.cursor is not None:
        page = await h.face.call(h.store.find, attrs.evolve(query, cursor=page.cursor))
        found += page.items
    return found
