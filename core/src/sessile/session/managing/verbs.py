"""What a manager does with the sessions of a store: its verbs, which both faces have, written once."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Annotated, Unpack

import attrs

from sessile.drive.arguments import Check, Count, Positive, Seconds
from sessile.engine import lifecycle
from sessile.engine.committing import deletion
from sessile.engine.handle import Handle
from sessile.errors import AccessDenied, CorruptStore, InvalidInput, SessionNotFound
from sessile.graph.merging import AnySession
from sessile.log.encoding import JSON
from sessile.log.header import ACTIVE, ARCHIVED, CREATED, DEFAULT_USER, SAVED, Header
from sessile.log.ids import check_id
from sessile.session.base import SessionOptions
from sessile.session.managing import erasing
from sessile.session.managing.handle import QueryFields, StoreHandle
from sessile.session.managing.searching import Hit, Search, first_of
from sessile.store.text.query import SearchQuery
from sessile.store.waist import Page
from sessile.transfer import archives

DAY = 86_400.0  # seconds
Days = Annotated[float, Check(lambda value: value >= 0, "a number of days, 0 or more")]


async def create_session(
    m: StoreHandle,
    /,
    user_id: str | None = None,
    *,
    session_id: str | None = None,
    title: str = "",
    metadata: dict[str, JSON] | None = None,
    exist_ok: bool = False,
    **options: Unpack[SessionOptions],
) -> Handle:
    """Store a new session and open it. Options are those of `Session`.

    `SessionExists` where the id is taken, `AccessDenied` where another user has it. user_id: default the user that the manager
    is bound to, else "default_user". exist_ok: where the user has such a session, open it as it is; title and metadata are a new
    one's.
    """
    user_id = m.whose(user_id) or DEFAULT_USER
    while True:
        handle, _ = await m.open(session_id, user_id, options, metadata)
        try:
            await (lifecycle.create if exist_ok else lifecycle.create_new)(handle, title)
        except BaseException as error:
            await lifecycle.close(handle)
            if not (exist_ok and isinstance(error, SessionNotFound)):  # it was deleted meanwhile: a new one is made
                raise
        else:
            return handle


async def get_session(
    m: StoreHandle, /, session_id: str, user_id: str | None = None, **options: Unpack[SessionOptions]
) -> Handle | None:
    """Open a stored session; None where there is none. `AccessDenied` where it is not this user's (None: anybody's)."""
    handle, header = await m.open(session_id, m.whose(user_id), options)
    if header.version:
        return handle
    await lifecycle.close(handle)
    return None


async def get_sessions_for_user(m: StoreHandle, /, user_id: str, limit: Positive = 50) -> builtins.list[Handle]:
    """Open a user's latest sessions, newest change first."""
    page = await list(m, user_id=user_id, limit=limit)
    opened: builtins.list[Handle] = []
    try:
        for header in page.items:
            found = await get_session(m, header.session_id, header.user_id)
            opened += [found] if found is not None else []  # it was deleted meanwhile
    except BaseException:
        for handle in opened:
            await lifecycle.close(handle)
        raise
    return opened


async def list(m: StoreHandle, /, **query: Unpack[QueryFields]) -> Page[Header]:
    """A page of headers, newest change first, without opening any session. See `sessile.store.Query`.

    `InvalidInput` for what no query has, and for what is no session: a prefix that begins with "~", or the statuses
    "pending" and "deleted".
    """
    found: Page[Header] = await m.face.call(m.commits.store.find, m.query(query))
    return found


def each(m: StoreHandle, /, **query: Unpack[QueryFields]) -> AsyncGenerator[Header]:
    """All headers that a query finds, page by page (of `limit`, by default 1,000), newest change first.

    One that changes while the pages are read may be left out, or come as it was.
    """
    query = {"limit": 1000, **query}
    m.query(query)  # here, and not when the first header is asked for
    return _pages(m, query)


async def _pages(m: StoreHandle, /, query: QueryFields) -> AsyncGenerator[Header]:
    page = await list(m, **query)
    while True:
        for header in page.items:
            yield header
        if page.cursor is None:
            return
        query = {**query, "cursor": page.cursor}
        page = await list(m, **query)


async def exists(m: StoreHandle, /, session_id: str) -> bool:
    """Is there such a session?"""
    header = await m.face.call(m.commits.store.load, check_id(session_id))
    return header is not None and not header.hidden and m.user_id in (None, header.user_id)


async def import_session(
    m: StoreHandle,
    /,
    path: str | os.PathLike[str],
    session_id: str | None = None,
    *,
    user_id: str | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Handle:
    """Store a session that `Session.export` or `save` wrote to a file, and open it. `SessionExists` where its id is taken.

    session_id, user_id: default those it had; a bound manager makes it its user's. progress: called with the number of
    entries stored, and of all.
    """
    user_id = m.whose(user_id)
    found = await m.face.call(archives.read_archive, path)
    if found is not None:
        stored = await archives.restore_archive(m.commits, found, session_id, user_id=user_id, progress=progress)
        return (await m.open(stored, user_id))[0]
    about = await m.face.call(archives.about, path)
    owner = about["user_id"] if user_id is None else user_id
    name = about["session_id"] if session_id is None else check_id(session_id)
    await archives.check_free(m.commits, name)
    handle, _ = await m.open(name, owner)
    try:
        await archives.load(handle, path, new=True, progress=progress)
    except BaseException:
        await lifecycle.close(handle)
        raise
    return handle


async def save(m: StoreHandle, /, session: AnySession) -> None:
    """Mark a session as saved (its status). What was said is stored already; the next entry makes it active."""
    handle: Handle = session._seen_by(m.face.awaits)._handle
    m.whose((await handle.open()).user_id)
    await lifecycle.mark_saved(handle)


async def delete(m: StoreHandle, /, session_id: str, user_id: str | None = None, *, cascade: bool = False) -> bool:
    """Delete a session, a broken one too; False where there was none. `AccessDenied` where it is not this user's.

    Sessions that were forked from it keep what they inherited. cascade: those are deleted as well.
    `CorruptStore` for a broken one where a user is named, and it cannot be read whose it is.
    """
    user_id, log = m.whose(user_id), ""
    if user_id is not None:
        try:
            header = await m.commits.load(check_id(session_id))
        except CorruptStore as error:
            owner = error.user_id
            if owner is None:
                raise
        else:
            if header is None:
                return False
            owner, log = header.user_id, header.log
        if owner != user_id:
            raise AccessDenied(f"session {session_id!r} does not belong to user {user_id!r}: it was not deleted")
    return await deletion.delete_session(m.commits, check_id(session_id), log=log, cascade=cascade)


async def delete_user(m: StoreHandle, /, user_id: str) -> int:
    """Delete all sessions of a user, broken ones too, and the state that they share; returns how many sessions there were.

    Sessions that are begun meanwhile, forks too, may stay. `CorruptStore`, once all others are deleted, where it cannot be
    read whose some of the store's sessions are: it names each (a bound manager leaves those aside). What cannot be read is
    not in any list, so this looks through the ids of all logs of the store.
    """
    m.whose(check_id(user_id, "user id"))
    return await erasing.delete_all_of(m.commits, user_id, bound=m.user_id is not None)


async def archive_inactive(m: StoreHandle, /, days: Days = 30) -> int:
    """Archive the sessions that nothing was said in for so many days; returns how many.

    One that is used again before its turn comes stays as it is.
    """
    before = time.time() - days * DAY
    queries = [m.query({"before": before, "status": status, "limit": 1000}) for status in (CREATED, ACTIVE, SAVED)]
    return await erasing.archive_found(m.commits, queries)


async def delete_inactive(m: StoreHandle, /, days: Days = 30, *, status: str | None = None) -> int:
    """Delete the sessions that were not changed for so many days (status: only such); returns how many.

    One that is used again before its turn comes stays, and so does one that cannot be read.
    """
    query = m.query({"before": time.time() - days * DAY, "status": status, "limit": 1000})
    return await erasing.delete_found(m.commits, query)


async def delete_archived(m: StoreHandle, /) -> int:
    """Delete all archived sessions; returns how many. One that is used again before its turn comes stays."""
    return await erasing.delete_found(m.commits, m.query({"status": ARCHIVED, "limit": 1000}))


async def clear_all(m: StoreHandle, /) -> int:
    """Delete every session, broken ones too, and all shared state of this store; returns how many sessions there were.

    Sessions that are begun meanwhile, forks too, may stay. A bound manager: as `delete_user`.
    """
    if m.user_id is not None:
        return await delete_user(m, m.user_id)
    return await erasing.delete_all_of(m.commits, None)


async def sweep(m: StoreHandle, /, *, repair: bool = False, older_than: Seconds = 3600) -> int:
    """How many deletions, forks, imports and copies were cut short; repair: clear away what they left.

    older_than: seconds after which whoever began one is taken to be gone. `AccessDenied` for a bound manager.
    `CorruptStore`, once all others were seen to, where some of them cannot be read: it names each.
    """
    if m.user_id is not None:
        raise AccessDenied(f"this manager is bound to user {m.user_id!r}, and a sweep goes through everybody's sessions")
    return await erasing.sweep(m.commits, repair=repair, older_than=older_than)


async def search(m: StoreHandle, /, text: str, *, user_id: str | None = None, limit: Count = 20) -> builtins.list[Hit]:
    """Messages that have all words of `text`: best first where the store has an index, else newest session first.

    Words are runs of letters and digits, whole ones, whatever their case and accents (see `sessile.store.words`).
    `"late parcel"` in quotes is a phrase, `parc*` the beginning of a word. `user:ID` and `session:ID` say whose, and in
    which session's history, `after:2026-11-30` (or a time, UTC) when it was said; the rest of the text is words.

    At most `limit`. A text without words finds nothing, nor does one with a NUL. A session that cannot be read is left out.
    A message that forks inherit is found once: in the session in which it was said; where that is gone, or counts it no
    more, in the oldest fork that counts it; with `session:ID` in that one.
    `InvalidInput` for a text or user id that is no text that can be stored, a filter that means nothing or is another than
    `user_id`, or a limit that is no number from 0; `AccessDenied` for a bound manager that is asked for another's.
    """
    query = SearchQuery.parse(text)
    whose = m.whose(user_id) or m.whose(query.user_id)
    if query.user_id not in (None, whose):
        m.whose(query.user_id)  # it may be refused for that
        raise InvalidInput(f"text asks for user:{query.user_id}, and user_id is {whose!r}: leave one of them out")
    if not limit or not query.terms or "\0" in text:  # no index has a NUL
        return []
    search = Search(m.commits, attrs.evolve(query, user_id=whose))
    async with aclosing(search.hits(lambda: _pages(m, {"limit": 1000, "user_id": whose}), limit)) as hits:
        return await first_of(hits, limit)


async def message(m: StoreHandle, /, message_id: str, *, user_id: str | None = None) -> Hit | None:
    """The message of an id with the session in which it was said (as `search` finds it); None where it counts in none.

    No store has an index of these: the sessions are read one by one, newest change first. `Session.message` is for who
    knows the session. Where several messages were given one id, one of them.
    """
    user_id = m.whose(user_id)
    search = Search(m.commits, SearchQuery(terms=(), user_id=user_id))
    return await search.first(_pages(m, {"limit": 1000, "user_id": user_id}), lambda entry: entry.id == message_id)
