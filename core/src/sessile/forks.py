"""Forks: sessions that go on from a point of another one. Nothing is copied: a fork's lineage names its parent's log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.deletion import children as forks_of
from sessile.deletion import find_all
from sessile.encoding import JSON, converter, json_value
from sessile.errors import InvalidInput, SessionExists, SessionNotFound
from sessile.handle import Handle
from sessile.ids import check_id, new_id
from sessile.log import DELETED, Change, Draft, Header, Segment
from sessile.points import Target, before, find_message, inherited_automatic, mark_at, resolve
from sessile.store import Query, recency
from sessile.turn import take_turn


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
    await begin_fork(h, header, child, target, Change(fields=fields))
    return h.session.another(child)


async def begin_fork(h: Handle, header: Header, child: Handle, target: Target, more: Change) -> None:
    """Commit the beginning of a session that goes on from `target`, with `more` behind it."""
    if (await child.refresh()).version:
        raise SessionExists(f"session {child.session_id!r} exists already: choose another session_id")
    if child.session_id in header.renamed:
        raise SessionExists(f"session {h.session_id!r} inherited from a deleted session {child.session_id!r}: choose another id")
    inherited, mark = converter.unstructure(target.lineage), await mark_at(h, header, target)
    begin = {"from": h.session_id, "lineage": inherited, "hash": target.hash, "state": target.state}
    fields = {
        "parent": h.session_id,
        "root": header.root or h.session_id,
        "lineage": [*inherited, converter.unstructure(Segment(child.session_id, 0))],
        "renamed": header.renamed,
        "state": target.state,
        "count": target.count,
        "last_snapshot": mark,
        "mark": mark,
        "automatic": inherited_automatic(header, target),
    }
    drafts = [Draft("fork", begin, count=target.count), *more.drafts]
    await child.commit(lambda _: Change(drafts, {**fields, **more.fields}), on_conflict="raise")
    await _still_whole(h, header, child)


async def _still_whole(h: Handle, header: Header, child: Handle) -> None:
    """A session of the lineage may have been deleted while the fork began, without finding it: then it is told now."""
    now = await h.face.call(h.store.load, h.session_id)
    if now is None or now.status == DELETED:
        await h.face.settle(h.store.delete, child.session_id)
        raise SessionNotFound(f"session {h.session_id!r} was deleted while it was forked: there is no fork")
    if now.renamed != header.renamed:
        fields = {"renamed": now.renamed, "root": now.root or h.session_id}
        await child.commit(lambda _: Change(fields=fields), on_conflict="rebase")


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
    await begin_fork(h, header, child, target, Change())
    return h.session.another(child)


async def parent(h: Handle) -> str | None:
    """The id of the session that this one was forked from, or of the next one above that was not deleted; or None."""
    above: Header | None = await h.refresh()
    while above is not None and above.parent is not None:
        above = await h.face.call(h.store.load, above.parent)
        if above is not None and not above.hidden:
            return above.session_id
    return None


async def children(h: Handle) -> list[Header]:
    """The headers of the sessions that were forked from this one (or from a deleted fork of it), newest change first."""
    await h.open()
    found = await forks_of(h.face, h.store, h.session_id)
    for gone in [header for header in found if header.hidden]:  # grows meanwhile
        found += await forks_of(h.face, h.store, gone.session_id)
    return sorted((header for header in found if not header.hidden), key=recency, reverse=True)


async def tree(h: Handle) -> dict[str, Any]:
    """The tree of forks that this session is in: summaries (see `Header.summary`), each with its "children".

    Deleted sessions are left out: their forks are shown where they were.
    """
    header = await h.refresh()
    root = header.root or h.session_id
    found = {other.session_id: other for other in await find_all(h.face, h.store, Query(root=root, limit=1000))}
    for first in (header, header if root == h.session_id else await h.face.call(h.store.load, root)):
        found[first.session_id] = first
    nodes = {name: {**other.summary(), "children": []} for name, other in found.items() if not other.hidden}
    top = h.session_id
    for other in sorted(found.values(), key=lambda other: other.created_at):
        above = _shown_above(other, found)
        if above and not other.hidden:
            nodes[above]["children"].append(nodes[other.session_id])
    while above := _shown_above(found[top], found):
        top = above
    return nodes[top]


def _shown_above(header: Header, found: Mapping[str, Header]) -> str | None:
    above = found.get(header.parent or "")
    while above is not None and above.hidden:
        above = found.get(above.parent or "")
    return above.session_id if above else None
