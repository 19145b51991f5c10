"""Forks: sessions that go on from a point of another one. Nothing is copied: a fork's lineage names its ancestors' logs.

A fork begins as a pending header, which is no session for anybody. It claims what it inherits (see `heirs.py`), looks that
its parent is still there, and only then becomes a session. Killed at any instant, it is cleared away by whoever wants its id,
or by a sweep.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sessile.conversation.messages import Message
from sessile.conversation.messages import message as message_of
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import clear_leftover, find_all
from sessile.engine.committing.heirs import claim, is_dead, keep_inherited, release
from sessile.engine.handle import Handle
from sessile.engine.history import last_turn
from sessile.engine.lifecycle import close, delete
from sessile.engine.state import state_draft
from sessile.engine.turns import take_turn
from sessile.errors import AccessDenied, Conflict, InvalidInput, SessileError, SessionExists, SessionNotFound
from sessile.graph.points import Point, Target, before, find_message, mark_at, resolve
from sessile.log.encoding import JSON, json_value
from sessile.log.entries import FORK, MESSAGE, Entry, Segment
from sessile.log.header import ACTIVE, PENDING, UNSEEN, Header
from sessile.log.ids import check_id, new_id, new_log_id, owner_of
from sessile.log.lineage import followed, inherited, pieces
from sessile.log.stamping import Change, Draft, clock, copy_of, stamp
from sessile.store.waist import Query, recency

_PATIENCE = 30  # seconds that a fork of the same id may take before it is cleared away


async def fork(
    h: Handle,
    at: Point | None = None,
    session_id: str | None = None,
    *,
    user_id: str | None = None,
    title: str = "",
    metadata: Mapping[str, JSON] | None = None,
) -> Handle:
    """A new session that begins with this one's messages up to `at` (default: all), its state and plugins' entries up to there.

    Nothing is copied, unless it is for another user (user_id): that one has copies, of which this session and its user know
    nothing, and which stay when this session is deleted. `SessionExists` where `session_id` is taken; `AccessDenied` for another
    user where the session was opened by a manager that is bound to its own.
    """
    fields = {"title": json_value(title, "title"), "metadata": json_value(dict(metadata or {}), "metadata")}
    header = await h.refresh()
    target = await resolve(h, header, header.count if at is None else at)
    if user_id not in (None, header.user_id):
        if h.bound:
            raise AccessDenied(
                f"session {h.session_id!r} was opened by a manager that is bound to user {header.user_id!r}: it makes none for "
                f"{user_id!r}"
            )
        return await _copy_for(h, header, target, session_id, Change(fields={**fields, "user_id": check_id(user_id, "user id")}))
    return await begin_fork(h, header, target, session_id, Change(fields=fields))


async def begin_fork(h: Handle, header: Header, target: Target, session_id: str | None, more: Change) -> Handle:
    """A session that goes on from a target of this one's, with `more` behind it. `SessionExists` where the id is taken."""
    name = new_id() if session_id is None else check_id(session_id)
    first, change = await _beginning(h, header, target, name, more)
    entries, fields = stamp(first, change, clock())
    pending = await begin_pending(h.commits, first, entries, {**fields, "status": PENDING})
    born = await bring_to_life(h.commits, pending, alive=[header.log] if header.version else [])
    return h.sibling(born)


async def _copy_for(h: Handle, header: Header, target: Target, session_id: str | None, more: Change) -> Handle:
    """A session of another user that begins with copies of what counts at a target: their sessions stay apart in all else."""
    name = new_id() if session_id is None else check_id(session_id)
    parts = await h.lineage(header, target.last) if target.last else []
    entries = [entry for part in parts for piece in pieces(part) for entry in await h.read(piece)]
    drafts = [copy_of(entry) for entry in entries if entry.kind == MESSAGE or "." in entry.kind]
    state = [state_draft(target.state)] if target.state else []
    first = Header(session_id=name, log=new_log_id(name), app=header.app)
    change = Change([*state, *drafts], {**more.fields, "state": target.state})
    return h.sibling(await begin_pending(h.commits, first, *stamp(first, change, clock())))


async def _beginning(h: Handle, header: Header, target: Target, name: str, more: Change) -> tuple[Header, Change]:
    """The header that a fork begins with, not stored yet, and what its first commit does."""
    last = target.last
    first = Header(
        session_id=name, log=new_log_id(name), user_id=header.user_id, app=header.app, ancestors=inherited(header, last)
    )
    mark = await mark_at(h, header, target)
    begin = {"before": list(last) if last else None, "hash": target.hash, "state_at": target.base}
    fields = {
        "parent": header.log,
        "root": header.root or header.log,
        "state": target.state,
        "count": target.count,
        "last_snapshot": mark,
        "mark": mark,
        "automatic": [at for at in header.automatic if first.holds(*at)],
        **followed(header, last, Segment(first.depth, 0)),
    }
    return first, Change([Draft(FORK, begin, count=target.count), *more.drafts], {**fields, **more.fields})


async def begin_pending(commits: Commits, first: Header, entries: list[Entry], fields: Mapping[str, JSON]) -> Header:
    """Store the header of a session that is being made. `SessionExists` where the id is taken."""
    again = commits.retrying(f"session {first.session_id!r}")
    while True:
        try:
            return await commits.put(first, entries, fields)
        except Conflict as lost:
            found = lost.header
            if found is not None and found.status not in UNSEEN:
                break
            if found is not None and found.status == PENDING and time.time() - found.updated_at < _PATIENCE:
                break
            await again.lost(lost)
            if found is not None:
                await clear_leftover(commits, found)
    raise SessionExists(f"session {first.session_id!r} exists already: choose another session_id")


async def bring_to_life(
    commits: Commits, pending: Header, *, alive: Sequence[str], status: str = ACTIVE, **fields: JSON
) -> Header:
    """Claim what a pending session inherits, see that it is all there, and make it a session.

    alive: the logs of ancestors whose sessions are there, and have to be until all is claimed. fields: of the header, to be
    set with the last commit. `SessionNotFound` where one of those was deleted meanwhile; nothing is left of the fork then.
    """
    try:
        claims = [row for row in pending.ancestors if row.stop]
        claimed = [await claim(commits, row, pending.log, first=row.log in alive) for row in claims]
        fields.update(await keep_inherited(commits, pending))  # before the look: what is seen alive has not expired
        if not all(claimed) or any([await is_dead(commits, log) for log in alive]):
            raise SessionNotFound("the session was deleted while it was forked: there is no fork")
        try:
            return await commits.change(pending, status=status, **fields)
        except Conflict as lost:
            raise swept_away(f"session {pending.session_id!r}") from lost
    except Exception:  # a cancellation leaves it to whoever comes upon it, as a kill does
        with suppress(Exception):  # the error that led here says more
            await _give_up(commits, pending)
        raise


def swept_away(what: str) -> SessionExists:
    """The error when something under construction was removed or replaced by somebody else."""
    return SessionExists(f"{what} was begun by somebody else, or swept away, while it was made: try again")


async def _give_up(commits: Commits, pending: Header) -> None:
    """Release a failed fork's claims, unless it became a session after all (its last commit landed, but the answer was lost)."""
    await clear_leftover(commits, pending)
    if not await is_dead(commits, pending.log):
        return
    for row in pending.ancestors:
        if row.stop:
            await release(commits, row.log, pending.log)


async def edit(h: Handle, message: Message | str, content: JSON) -> Handle:
    """A fork in which `message` (a `Message` or its id) says `content` instead, and the conversation goes on from there.

    A user's message is answered anew by the session's agent; another's is stored as it is. Returns the fork. Where that
    fails, there is no fork.
    """
    header = await h.refresh_for_change()
    _, entry = await find_message(h, header, message if isinstance(message, str) else message.id or "")
    said = message_of(**{**entry.body, "content": content})  # before anything is stored
    child = await begin_fork(h, header, await before(h, header, entry.id), None, Change())
    try:
        if said.role == "user":
            await take_turn(child, said)
        else:
            await child.commit(lambda _: Change([Draft(MESSAGE, said)]))
    except BaseException:
        with suppress(SessileError):  # the error that led here says more
            await delete(child)
        await close(child)
        raise
    return child


async def regenerate(h: Handle) -> Handle:
    """A fork in which the last turn is answered anew. Returns the fork. `InvalidInput` where there is no turn to answer."""
    last = await last_turn(h, await h.refresh_for_change())
    asked = [said for said in last.messages if said.role == "user"] if last else []
    if not asked:
        raise InvalidInput(f"there is no turn to answer anew in session {h.session_id!r}")
    return await edit(h, asked[0], asked[0].content)


# -- the tree of forks


async def parent(h: Handle) -> str | None:
    """The id of the session that this one was forked from, or of the next one above that was not deleted; or None."""
    header = await h.refresh()
    for row in reversed(header.ancestors):
        above = await h.commits.load(owner_of(row.log))
        if above is not None and above.log == row.log and not above.hidden:
            return above.session_id
    return None


async def children(h: Handle) -> list[Header]:
    """The headers of the sessions that were forked from this one (or from a deleted fork of it), newest change first."""
    header = await h.refresh()
    found = await _family(h, header)
    below = [other.copy() for other in found.values() if _shown_above(other, found) == header.log]
    return sorted(below, key=recency, reverse=True)


async def tree(h: Handle) -> dict[str, Any]:
    """The tree of forks that this session is in: summaries (see `Header.summary`), each with its "children".

    Deleted sessions are left out: their forks are shown where they were.
    """
    header = await h.refresh()
    found = await _family(h, header)
    nodes = {log: {**other.summary(), "children": []} for log, other in found.items()}
    for log, other in sorted(found.items(), key=lambda item: item[1].created_at):
        if above := _shown_above(other, found):
            nodes[above]["children"].append(nodes[log])
    top = header.log
    while above := _shown_above(found[top], found):
        top = above
    return nodes[top]


async def _family(h: Handle, header: Header) -> dict[str, Header]:
    """The sessions of the tree that a session is in, by their logs."""
    root = header.root or header.log
    found = {other.log: other for other in await find_all(h.commits, Query(user_id=header.user_id, root=root, limit=1000))}
    first = await h.commits.load(owner_of(root)) if root != header.log else None
    for other in (header, first):
        if other is not None and other.log in (root, header.log) and not other.hidden:
            found[other.log] = other
    return found


def _shown_above(header: Header, found: Mapping[str, Header]) -> str | None:
    """The log of the nearest session above that is still there."""
    return next((row.log for row in reversed(header.ancestors) if row.log in found), None)
