"""Deleting a session. What forks inherited of its log stays for them; nothing is copied.

A session is deleted in two steps. It is marked, which is when it is gone for everybody; then what nobody inherits of its log
is dropped, its own claims on other logs are released, and its header is removed. Each store call is conditional on the very
session that was meant, so that the next one under the same id is never touched. Whoever meets a mark finishes what is left.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import attrs

from sessile.drive.faces import Face
from sessile.engine.committing.commits import Commits, TellGone
from sessile.engine.committing.heirs import heirs, is_dead, release, settle
from sessile.errors import Conflict, CorruptStore
from sessile.log.encoding import JSON
from sessile.log.header import DELETED, PENDING, UNSEEN, Header
from sessile.log.ids import RESERVED, owner_of
from sessile.plugins.active import Plugins
from sessile.store.waist import Query

Only = Callable[[Header], bool]  # asked of the very header that is committed behind: shall the session go?


async def delete_session(
    commits: Commits,
    session_id: str,
    *,
    log: str = "",
    only: Only | None = None,
    cascade: bool = False,
    token: int | None = None,
) -> bool:
    """Delete the session of an id; False where there is none. See `Session.delete`.

    log: only the one that has this log. only: only while this is true of its header; a broken one then stays. token: of the
    lease that the caller holds.
    """
    try:
        header = await commits.load(session_id)
    except CorruptStore:
        return only is None and await delete_broken(commits, session_id)
    if header is None or header.log != (log or header.log):
        return False
    if cascade and header.status != PENDING and (only is None or only(header)):
        return await _delete_family(commits, header, token)
    if header.status in UNSEEN:
        if header.status == DELETED:
            await finish_deletion(commits, header)
        return False
    marked = await mark_deleted(commits, header, header.log, only=only, token=token)
    if marked is not None:
        await finish_deletion(commits, marked)
    return marked is not None


async def mark_deleted(
    commits: Commits, header: Header, log: str, *, only: Only | None = None, token: int | None = None
) -> Header | None:
    """Make a session that has this log gone for everybody. Its header as it is marked; None where it is not there.

    only: leave it, and return None, as soon as this is not true of its header.
    """

    async def going(found: Header | None) -> dict[str, JSON] | None:
        if found is None or found.log != log or found.status == DELETED or (only is not None and not only(found)):
            return None
        await commits.until_free(found, token)
        return {"status": DELETED}

    found = await commits.change_newest(header.session_id, header, going, f"session {header.session_id!r}")
    return found if found is not None and found.log == log and found.status == DELETED else None


async def finish_deletion(commits: Commits, gone: Header, *, was_session: bool = True) -> None:
    """Bring the deletion of a session that is marked to its end. Anybody may, at any time, also at once with others.

    was_session: False for what never became one, of which plugins are not told.
    """
    if commits.can.verbatim:  # a document as it lies in a store: that store does it
        return
    await settle(commits, gone.log)
    for ancestor in gone.ancestors:
        if ancestor.stop:
            await release(commits, ancestor.log, gone.log)
    await commits.remove(gone)
    if was_session and commits.tell_gone is not None:
        await commits.tell_gone(gone)


async def clear_leftover(commits: Commits, found: Header) -> None:
    """Remove what an interrupted deletion, fork or copy left under this id."""
    begun = found.status == PENDING
    if begun:
        try:
            found = await commits.change(found, status=DELETED)
        except Conflict:  # it goes on, or has become a session by now
            return
    if found.status == DELETED:
        await finish_deletion(commits, found, was_session=not begun)


def teller(face: Face, plugins: Plugins, *, strict: bool = False) -> TellGone:
    """What calls the hook `on_session_delete`."""

    async def tell_gone(gone: Header) -> None:
        if not gone.session_id.startswith(RESERVED) and plugins.implementations("on_session_delete"):
            about = {"session_id": gone.session_id, "user_id": gone.user_id, "log": gone.log}
            await plugins.call(face, "on_session_delete", about, strict=strict)

    return tell_gone


async def _delete_family(commits: Commits, root: Header, token: int | None) -> bool:
    """Delete a session and all that inherits from it. False where somebody else deleted it meanwhile.

    The descendants are marked first, so an interrupted call can be repeated. Once the root is marked it cannot be forked,
    and the descendants are looked for once more.
    """
    root = await commits.until_free(root, token)  # before anything goes
    for header in await _below(commits, root):
        await commits.until_free(header, None)
    family: dict[str, Header] = {}
    last = False
    while True:
        found = [header for header in await _below(commits, root) if header.log not in family]
        if last and not found:
            break
        for header in _youngest_first(found):
            family[header.log] = await mark_deleted(commits, header, header.log) or header
        if not last:
            last, marked = True, await mark_deleted(commits, root, root.log, token=token)
    for header in _youngest_first(family.values()):
        if header.status == DELETED:
            await finish_deletion(commits, header)
    if marked is not None:
        await finish_deletion(commits, marked)
    return marked is not None


def _youngest_first(headers: Iterable[Header]) -> list[Header]:
    return sorted(headers, key=lambda header: -header.depth)


async def _below(commits: Commits, root: Header) -> list[Header]:
    """The headers of all that inherits from a session, and from those; what is being made or deleted too.

    All are of its user. Broken ones are deleted.
    """
    below: list[Header] = []
    seen = {root.log}
    waiting = [root.log]
    while waiting:
        above = waiting.pop()
        forked = [header.log for header in await find_all(commits, Query(user_id=root.user_id, parent=above, limit=1000))]
        for name in {*await heirs(commits, above), *forked} - seen:
            seen.add(name)
            waiting.append(name)
            try:
                header = await commits.load(owner_of(name))
            except CorruptStore:
                await delete_broken(commits, owner_of(name))
                continue
            if header is not None and header.log == name:
                below.append(header)
    return below


async def delete_broken(commits: Commits, session_id: str, *, only: Only | None = None) -> bool:
    """Delete a session whose header cannot be read, and all entries of its logs that no fork needs.

    only: where it can be read by now, delete it only while this is true of its header.
    """
    try:
        await commits.tell(commits.store.delete, session_id, expected=None)
    except Conflict as lost:  # somebody else deleted it, or mended it
        return lost.header is not None and await delete_session(commits, session_id, log=lost.header.log, only=only)
    logs = commits.can.logs
    for log in await commits.ask(logs) if logs else ():
        if owner_of(log) == session_id and await is_dead(commits, log):
            await settle(commits, log)
    return True


async def find_all(commits: Commits, query: Query, *, prefixes: Sequence[str] = ("",)) -> list[Header]:
    """All headers that a query finds with each of these prefixes, newest change first."""
    return [header async for page in find_pages(commits, query, prefixes=prefixes) for header in page]


async def find_pages(commits: Commits, query: Query, *, prefixes: Sequence[str] = ("",)) -> AsyncIterator[Sequence[Header]]:
    """As `find_all`, as many at a time as the query's limit says."""
    for prefix in prefixes:
        cursor = None
        while True:
            page = await commits.ask(commits.store.find, attrs.evolve(query, prefix=prefix, cursor=cursor))
            yield page.items
            cursor = page.cursor
            if cursor is None:
                break


async def ids_and_logs(commits: Commits, query: Query, *, prefixes: Sequence[str] = ("",)) -> list[tuple[str, str]]:
    """The (session id, log) of all sessions that a query finds, also where they change meanwhile.

    A list begins with the newest change: a session that changes while its pages are read moves to one that was read already.
    So they are read again until they show nothing new. Sessions that are begun meanwhile may be left out.
    """
    begin = time.time()
    found: dict[str, str] = {}  # ids by log
    while True:
        known = len(found)
        async for page in find_pages(commits, query, prefixes=prefixes):
            found.update({h.log: h.session_id for h in page if h.log not in found and (not known or h.created_at <= begin)})
        if len(found) == known:
            return [(session_id, log) for log, session_id in found.items()]
