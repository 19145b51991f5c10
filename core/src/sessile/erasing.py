"""Many sessions at once: deleting those that a query finds, and clearing away what was cut short.

What cannot be read keeps nothing else from going: it is named by the error in the end.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import attrs

from sessile.commits import Commits
from sessile.deletion import Only, clear, delete_broken, delete_session, everything, find_all, pages
from sessile.errors import CorruptStore
from sessile.heirs import PREFIX, tidy
from sessile.ids import RESERVED, owner_of
from sessile.log import DELETED, PENDING, Header
from sessile.store import Query

_USER, _APP = f"{RESERVED}user:", f"{RESERVED}app"  # how the ids of shared state begin


@attrs.define
class _Broken:
    """What could not be read."""

    found: list[str] = attrs.field(factory=list)

    @contextmanager
    def passed_by(self, session_id: str) -> Iterator[None]:
        """Go on where this session, or what belongs to it, turns out to be broken."""
        try:
            yield
        except CorruptStore as error:
            self.add(session_id, error)

    def add(self, session_id: str, error: CorruptStore) -> None:
        self.found.append(f"{session_id}: {error}")

    def check(self, what: str, rest: str) -> None:
        """`CorruptStore` where there is any."""
        if self.found:
            raise CorruptStore(f"{len(self.found)} {what} ({'; '.join(self.found)}): {rest}")


async def delete_all_of(commits: Commits, user_id: str | None, *, bound: bool = False) -> int:
    """Delete all sessions of a user (None: everybody's), broken ones too, and the state that they share. Returns how many.

    No list shows broken sessions, so the ids of all logs are looked through: that costs as much as the whole store has.
    bound: is it the user who asks? Then what may be another's is left aside, without an error.
    """
    query = Query(user_id=user_id, limit=1000)
    shared = await everything(commits, query, prefixes=(_USER,) if user_id is not None else (_USER, _APP))
    broken = _Broken()
    count = await _delete(commits, await everything(commits, query), broken)
    await _delete(commits, shared, broken)
    async for session_id, error in _unreadable(commits):
        if user_id is not None and (owner := _owner(session_id, error)) != user_id:
            if owner is None and not bound:
                broken.add(session_id, error)
            continue
        with broken.passed_by(session_id):
            gone = await delete_broken(commits, session_id, only=query.matches if user_id is not None else None)
            count += gone and not session_id.startswith(RESERVED)
    broken.check(*_left(count))
    return count


async def delete_found(commits: Commits, query: Query) -> int:
    """Delete the sessions that a query finds, as long as it still would; returns how many. A broken one stays."""
    broken = _Broken()
    count = await _delete(commits, await everything(commits, query), broken, only=query.matches)
    broken.check(*_left(count))
    return count


def _left(count: int) -> tuple[str, str]:
    rest = "delete each by its id with SessionManager(store).delete, or restore a copy"
    return "of the store's sessions cannot be read, so that they stayed", f"{count} others were deleted; {rest}"


async def _delete(commits: Commits, found: list[tuple[str, str]], broken: _Broken, *, only: Only | None = None) -> int:
    """Delete the sessions of these (session id, log), and no other that has one of the ids by now; returns how many."""
    count = 0
    for session_id, log in found:
        with broken.passed_by(session_id):
            count += await delete_session(commits, session_id, log=log, only=only)
    return count


async def _unreadable(commits: Commits) -> AsyncIterator[tuple[str, CorruptStore]]:
    """(session id, error) of the sessions, and of the state they share, whose header cannot be read: as their logs tell."""
    logs = getattr(commits.store, "logs", None)
    unseen = {owner_of(log) for log in await commits.ask(logs)} if logs else set()
    if not unseen:
        return
    async for page in pages(commits, Query(limit=1000)):
        unseen.difference_update(header.session_id for header in page)
    for session_id in sorted(unseen):
        if session_id.startswith(RESERVED) and not session_id.startswith((_USER, _APP)):
            continue
        try:
            await commits.load(session_id)
        except CorruptStore as error:
            yield session_id, error


def _owner(session_id: str, error: CorruptStore) -> str | None:
    """Whose session it is that cannot be read, as far as that can; None: not known."""
    return session_id.removeprefix(_USER) if session_id.startswith(_USER) else error.user_id


async def sweep(commits: Commits, *, repair: bool, older_than: float) -> int:
    """How much was cut short: deletions, forks, copies, imports. See `SessionManager.sweep`."""
    count = 0
    broken = _Broken()
    async for header in _to_sweep(commits, older_than):
        with broken.passed_by(header.session_id):
            if header.session_id.startswith(PREFIX):
                count += await tidy(commits, header, repair=repair)
            else:
                count += 1
                if repair:
                    await clear(commits, header)
    broken.check("of the sessions and records to sweep are broken", "all others were seen to")
    return count


async def _to_sweep(commits: Commits, older_than: float) -> AsyncIterator[Header]:
    """What somebody began to make or to delete so long ago, then the records of heirs that are there by then."""
    long_ago = time.time() - older_than
    for status in (DELETED, PENDING):
        query = Query(status=status, before=long_ago, limit=1000)
        for header in await find_all(commits, query, prefixes=("", RESERVED)):
            yield header
    for record in await find_all(commits, Query(limit=1000), prefixes=(PREFIX,)):
        yield record
