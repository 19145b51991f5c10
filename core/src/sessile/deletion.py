"""Deleting a session. Sessions that were forked from it keep what they inherited.

The deleted session's log, as far as its forks read it, moves to a hidden log under a new id; each fork is told that id
(`Header.renamed`), and only then the session itself goes. It is marked as deleted first, which is when it is gone for
everybody. Killed at any instant, every fork is whole, and whoever comes upon the mark next goes on from there.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import attrs

from sessile.drive import Face
from sessile.encoding import JSON
from sessile.errors import Conflict, CorruptStore, HasForks
from sessile.handle import Handle
from sessile.ids import RESERVED, new_id
from sessile.log import DELETED, Change, Entry, Header
from sessile.plugins import installed
from sessile.store import Query, Store

BATCH = 256  # entries copied in one commit
HEIR = f"{RESERVED}log:"  # how the ids of hidden logs begin
_LONG = 3600  # seconds after which nobody is at it any more


async def delete(h: Handle, *, cascade: bool = False) -> None:
    """Delete the session with its log. Every handle of it raises `SessionNotFound` from then on.

    Sessions that were forked from it keep what they inherited. cascade: delete those as well, and their forks.
    """
    if (await h.refresh()).version:
        await delete_stored(h.face, h.store, h.session_id, cascade=cascade)


async def delete_stored(face: Face, store: Store, session_id: str, *, cascade: bool = False) -> None:
    """Delete a session by its id, without opening it, so that a broken one can be deleted too. See `delete`.

    `HasForks` for a broken one that others were forked from: what they inherited cannot be told.
    """
    try:
        header = await face.call(store.load, session_id)
    except CorruptStore as broken:
        names = [fork.session_id for fork in await children(face, store, session_id)]
        if names and not cascade:
            raise HasForks(
                f"session {session_id!r} is broken and has forks that read its log ({', '.join(names[:5])}): restore a copy, "
                "or pass cascade=True to delete all of them",
                names,
            ) from broken
        header = None
    if cascade:
        await _delete_tree(face, store, session_id)
    elif header is None:
        await face.settle(store.delete, session_id)
    elif header.status == DELETED:
        await finish(face, store, header)
    else:
        marked = await _mark(face, store, session_id)
        if marked is None:  # somebody else was faster: what is there by now may be a new session
            return
        if await children(face, store, session_id, limit=1):
            await finish(face, store, marked)
        else:
            await face.settle(store.delete, session_id)
            await _prune(face, store, header.parent)


async def finish(face: Face, store: Store, gone: Header) -> None:
    """Bring the deletion of a session that is marked to its end."""
    heir = f"{HEIR}{gone.commit}"  # the same for everybody who goes on with this
    while heirs := await _not_told(face, store, gone, heir):
        needed = [await _inherited(face, store, fork, gone.session_id) for fork in heirs]
        await _copy(face, store, gone, heir, max(needed))
        for fork in heirs:
            await _tell(_handle(face, store, fork.session_id), gone.session_id, heir)
    now = await face.call(store.load, gone.session_id)
    if now is not None and now.commit == gone.commit:  # else somebody was faster, and it may be a new session by now
        await face.settle(store.delete, gone.session_id)
    await _prune(face, store, gone.parent)


async def children(face: Face, store: Store, session_id: str, limit: int = 0) -> list[Header]:
    """What was forked from a session, hidden logs included. limit: at most so many (0: all)."""
    return await find_all(face, store, Query(parent=session_id, limit=limit or 1000), once=bool(limit))


async def find_all(
    face: Face, store: Store, query: Query, *, once: bool = False, prefixes: Sequence[str] = ("", RESERVED)
) -> list[Header]:
    """All headers that a query finds, newest change first, then the hidden logs. once: only the first page of each."""
    return [header async for page in pages(face, store, query, once=once, prefixes=prefixes) for header in page]


async def pages(
    face: Face, store: Store, query: Query, *, once: bool = False, prefixes: Sequence[str] = ("", RESERVED)
) -> AsyncIterator[Sequence[Header]]:
    """As `find_all`, as many at a time as the query's limit says."""
    for prefix in prefixes:
        cursor = None
        while True:
            page = await face.call(store.find, attrs.evolve(query, prefix=prefix, cursor=cursor))
            yield page.items
            cursor = page.cursor
            if cursor is None or once:
                break


def _handle(face: Face, store: Store, session_id: str) -> Handle:
    return Handle(face, store, session_id, plugins=installed())


async def _mark(face: Face, store: Store, session_id: str) -> Header | None:
    """Make the session gone for everybody. The header as it is marked; None where somebody else had deleted it."""
    h = _handle(face, store, session_id)
    if not (await h.refresh()).version:
        return None
    await h.commit(lambda header: Change(fields={"status": DELETED}) if header.version else None, on_conflict="rebase")
    return h.seen


async def _delete_tree(face: Face, store: Store, session_id: str) -> None:
    """Delete a session and all that was forked from it: each is marked, then its forks are looked for, then all go."""
    doomed = [session_id]
    for name in doomed:  # grows meanwhile
        with suppress(CorruptStore):
            await _mark(face, store, name)
        doomed += [fork.session_id for fork in await children(face, store, name)]
    for name in reversed(doomed):
        await face.settle(store.delete, name)


async def sweep(face: Face, store: Store, *, repair: bool) -> int:
    """How many deletions, imports and copies were cut short more than an hour ago; with `repair` they are cleared away."""
    long_ago = time.time() - _LONG
    found = await find_all(face, store, Query(status=DELETED, before=long_ago, limit=1000))
    logs = await find_all(face, store, Query(before=long_ago, limit=1000), prefixes=(HEIR,))
    logs = [log for log in logs if not await children(face, store, log.session_id, limit=1)]
    for header in found if repair else ():
        await finish(face, store, header)
    for log in logs if repair else ():
        await _prune(face, store, log.session_id)
    return len(found) + len(logs)


# -- handing over


async def _not_told(face: Face, store: Store, gone: Header, heir: str) -> list[Header]:
    """The sessions that may read the log of the one that goes, and know it by its old id."""
    root = gone.root or gone.session_id
    tree = {found.session_id: found for found in await find_all(face, store, Query(root=root, limit=1000))}

    def descends(found: Header | None) -> bool:
        while found is not None and found.parent not in (gone.session_id, heir):
            found = tree.get(found.parent or "")
        return found is not None

    old = gone.session_id
    others = [found for name, found in tree.items() if name not in (old, heir) and found.where(old) == old]
    return [found for found in others if root == old or descends(found)]


async def _inherited(face: Face, store: Store, fork: Header, log: str) -> int:
    """How many entries of a log a fork inherited, whatever it has reverted to since: its first entry tells."""
    first = await face.call(store.read, fork.session_id, 0, 1)
    parts = first[0].body.get("lineage", ()) if first else ()
    return max((part["stop"] for part in parts if fork.where(part["session_id"]) == log), default=0)


async def _copy(face: Face, store: Store, gone: Header, heir: str, stop: int) -> None:
    """Copy the first entries of a log as they are. Who finds a part of them copied goes on behind it."""
    while True:
        have = await face.call(store.load, heir)
        head = have.head if have else 0
        if have is not None and head >= stop:
            return
        entries = await face.call(store.read, gone.session_id, head, min(head + BATCH, stop))
        if not entries and stop:
            raise CorruptStore(f"entry {head} of {gone.session_id!r} is missing: restore a copy, or delete it with cascade=True")
        with suppress(Conflict):  # somebody else goes on with the same
            await append_as_is(face, store, have or _heir(gone, heir), entries)


def _heir(gone: Header, heir: str) -> Header:
    """The header of a hidden log that takes a session's place in its tree: of the session itself it keeps nothing."""
    return Header(
        session_id=heir,
        user_id=gone.user_id,
        parent=gone.parent,
        root=gone.root,
        created_at=gone.created_at,
        updated_at=gone.updated_at,
        renamed=gone.renamed,
    )


async def append_as_is(face: Face, store: Store, header: Header, entries: list[Entry]) -> Header:
    """Commit entries that were stamped before, at the positions that they have. header: version 0 for a new log.

    Returns the header after it. `Conflict` where somebody else committed first.
    """
    changes: dict[str, JSON] = {} if header.version else header.to_dict()
    changes.update(version=(header.version or random.getrandbits(40)) + 1, commit=new_id(), updated_at=round(time.time(), 6))
    if entries:
        changes.update(head=entries[-1].position + 1, hash=entries[-1].hash)
    await face.settle(store.commit, header.session_id, expected=header.version, entries=entries, changes=changes)
    return header.after(changes)


async def _tell(fork: Handle, gone: str, heir: str) -> None:
    """Let a fork know where what it inherited is now."""

    def told(header: Header) -> Change | None:
        if not header.version or header.where(gone) != gone:
            return None
        names = {name: heir if log == gone else log for name, log in header.renamed.items()}
        fields: dict[str, Any] = {"renamed": {**names, gone: heir}, "updated_at": header.updated_at}
        fields.update({name: heir for name in ("parent", "root") if getattr(header, name) == gone})
        return Change(fields=fields)

    await fork.commit(told, on_conflict="rebase")


async def _prune(face: Face, store: Store, log: str | None) -> None:
    """Delete a hidden log that no fork is left of, and those it was itself forked from."""
    while log is not None and log.startswith(RESERVED) and not await children(face, store, log, limit=1):
        header = await face.call(store.load, log)
        await face.settle(store.delete, log)
        log = header.parent if header else None
