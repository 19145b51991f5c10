"""Many sessions at once: deleting or archiving those that a query finds, and clearing away what was cut short.

What cannot be read, or is used exclusively, keeps nothing else from going: it is named by the error in the end.
"""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import attrs

from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import (
    Only,
    clear_leftover,
    delete_broken,
    delete_session,
    find_all,
    find_pages,
    ids_and_logs,
)
from sessile.engine.committing.heirs import is_dead, record_of, settle, tidy
from sessile.engine.handle import Handle
from sessile.engine.lifecycle import archive_if
from sessile.errors import Conflict, CorruptStore, LockTimeout, SessionNotFound, StoreError, StoreUnavailable
from sessile.log.header import DELETED, PENDING, Header
from sessile.log.ids import APP_STATE, HEIRS, RESERVED, USER_STATE, owner_of
from sessile.plugins.discovery import installed
from sessile.store.waist import Query


@attrs.define
class _Left:
    """The sessions that were skipped: unreadable, not writable, or in use by others."""

    found: list[tuple[str, Exception]] = attrs.field(factory=list)

    @contextmanager
    def passed_by(self, session_id: str, *, but: type[StoreError] = StoreUnavailable) -> Iterator[None]:
        """Record this session's error and continue. but: errors of this type are still raised."""
        try:
            yield
        except (StoreUnavailable, but):
            raise
        except (StoreError, Conflict) as error:
            self.add(session_id, error)

    def add(self, session_id: str, error: Exception) -> None:
        self.found.append((session_id, error))

    def check(self, what: str, rest: str) -> None:
        """An error that names them, where there are any: `CorruptStore` before other kinds."""
        for kind in (CorruptStore, LockTimeout, StoreError, Conflict):
            if any(isinstance(error, kind) for _, error in self.found):
                named = "; ".join(f"{session_id}: {error}" for session_id, error in self.found)
                raise kind(f"{len(self.found)} {what} ({named}): {rest}")


async def delete_all_of(commits: Commits, user_id: str | None, *, bound: bool = False) -> int:
    """Delete all sessions of a user (None: everybody's), broken ones too, and the state that they share. Returns how many.

    No list shows broken sessions, so the ids of all logs are looked through: that costs as much as the whole store has.
    bound: does the user ask? Then broken sessions whose user is not known are left out, without an error.
    """
    query = Query(user_id=user_id, limit=1000)
    shared = await ids_and_logs(commits, query, prefixes=(USER_STATE,) if user_id is not None else (USER_STATE, APP_STATE))
    left = _Left()
    count = await _each(commits, await ids_and_logs(commits, query), left, _delete)
    await _each(commits, shared, left, _delete)
    await _finish_marked(commits, query, left, ("", *((USER_STATE,) if user_id is not None else (USER_STATE, APP_STATE))))
    async for session_id, error in _unreadable(commits):
        if user_id is not None and (owner := _owner(session_id, error)) != user_id:
            if owner is None and not bound:
                left.add(session_id, error)
            continue
        if session_id.startswith(HEIRS) and not await _is_empty(commits):
            left.add(session_id, error)  # who inherits is not known: what they need stays
            continue
        with left.passed_by(session_id):
            gone = await delete_broken(commits, session_id, only=query.matches if user_id is not None else None)
            count += gone and not session_id.startswith(RESERVED)
            if session_id.startswith(HEIRS):
                await settle(commits, session_id.removeprefix(HEIRS))
    left.check(*_said_of(count, "deleted"))
    return count


async def delete_found(commits: Commits, query: Query) -> int:
    """Delete the sessions that a query finds, as long as it still would; returns how many. A broken one stays."""
    left = _Left()
    count = await _each(commits, await ids_and_logs(commits, query), left, functools.partial(_delete, only=query.matches))
    await _finish_marked(commits, query, left, ("",))
    left.check(*_said_of(count, "deleted"))
    return count


async def _finish_marked(commits: Commits, query: Query, left: _Left, prefixes: Sequence[str]) -> None:
    """Bring to their end the deletions that were cut short, or that the store refused: no list shows those sessions."""
    marked = await ids_and_logs(commits, Query(user_id=query.user_id, status=DELETED, limit=1000), prefixes=prefixes)
    await _each(commits, marked, left, _delete)


async def archive_found(commits: Commits, queries: Iterable[Query]) -> int:
    """Archive the sessions that one of these queries finds, as long as it still would; returns how many."""
    left = _Left()
    count = 0
    for query in queries:
        count += await _each(commits, await ids_and_logs(commits, query), left, functools.partial(_archive, only=query.matches))
    left.check(*_said_of(count, "archived"))
    return count


def _said_of(count: int, done: str) -> tuple[str, str]:
    """What an error says of those that stayed, and of the others."""
    what = "of the store's sessions cannot be read, or are in use, so that they stayed"
    rest = "delete what is broken by its id with SessionManager(store).delete, or restore a copy; try again what is in use"
    return what, f"{count} others were {done}; {rest}"


async def _each(
    commits: Commits, found: list[tuple[str, str]], left: _Left, work: Callable[[Commits, str, str], Awaitable[bool]]
) -> int:
    """Call `work` for each (session id, log), skipping ids that belong to a newer session. Returns how many it did.

    Those that are used exclusively come last, and are waited for together. `LockTimeout` where the store itself is locked.
    """
    count, waited = 0, 0.0
    busy: list[tuple[str, str]] = []
    for session_id, log in found:
        begin = time.monotonic()
        try:
            with left.passed_by(session_id, but=LockTimeout):
                count += await work(commits.patient(0), session_id, log)
        except LockTimeout:
            busy.append((session_id, log))
            waited += time.monotonic() - begin
            if waited > commits.timeout:  # not for a session that is in use: that is known at once
                raise
    give_up = time.monotonic() + commits.timeout
    for session_id, log in busy:
        with left.passed_by(session_id):
            count += await work(commits.patient(give_up - time.monotonic()), session_id, log)
    return count


async def _delete(commits: Commits, session_id: str, log: str, only: Only | None = None) -> bool:
    return await delete_session(commits, session_id, log=log, only=only)


async def _archive(commits: Commits, session_id: str, log: str, only: Only) -> bool:
    handle = Handle(commits.face, commits.store, session_id, plugins=installed())
    handle.commits = commits
    with suppress(SessionNotFound):  # deleted meanwhile
        return await archive_if(handle, log, only)
    return False


async def _unreadable(commits: Commits) -> AsyncIterator[tuple[str, CorruptStore]]:
    """(id, error) of what cannot be read, as the logs tell: sessions, the state they share, and records of dead logs' heirs."""
    logs = commits.can.logs
    found = await commits.ask(logs) if logs else ()
    unseen = {owner_of(log) for log in found}
    if not unseen:
        return
    async for page in find_pages(commits, Query(limit=1000)):
        unseen.difference_update(header.session_id for header in page)
    for session_id in sorted(unseen):
        if session_id.startswith(RESERVED) and not session_id.startswith((USER_STATE, APP_STATE)):
            continue
        try:
            await commits.load(session_id)
        except CorruptStore as error:
            yield session_id, error
    for log in found:
        if owner_of(log) in unseen and await is_dead(commits, log):
            try:
                await commits.load(record_of(log))
            except CorruptStore as error:
                yield record_of(log), error


async def _is_empty(commits: Commits) -> bool:
    """Has the store no session?"""
    return not (await commits.ask(commits.store.find, Query(limit=1))).items


def _owner(session_id: str, error: CorruptStore) -> str | None:
    """Whose session it is that cannot be read, as far as that can; None: not known."""
    return session_id.removeprefix(USER_STATE) if session_id.startswith(USER_STATE) else error.user_id


async def sweep(commits: Commits, *, repair: bool, older_than: float) -> int:
    """How much was cut short: deletions, forks, copies, imports. See `SessionManager.sweep`."""
    count = 0
    left = _Left()
    async for header in _to_sweep(commits, older_than):
        with left.passed_by(header.session_id):
            if header.session_id.startswith(HEIRS):
                count += await tidy(commits, header, repair=repair)
            else:
                count += 1
                if repair:
                    await clear_leftover(commits, header)
    left.check("of the sessions and records to sweep are broken", "all others were seen to")
    return count


async def _to_sweep(commits: Commits, older_than: float) -> AsyncIterator[Header]:
    """What somebody began to make or to delete so long ago, then the records of heirs that are there by then."""
    long_ago = time.time() - older_than
    for status in (DELETED, PENDING):
        query = Query(status=status, before=long_ago, limit=1000)
        for header in await find_all(commits, query, prefixes=("", RESERVED)):
            yield header
    for record in await find_all(commits, Query(limit=1000), prefixes=(HEIRS,)):
        yield record
