"""Copying sessions from one store into another as they are: with their lineage, snapshots and hashes.

A session is there in the target whole, or not at all: until its last commit it is marked as deleted. Copying again goes
on where it was interrupted, and brings what was said since.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from sessile.deletion import BATCH, append_as_is, pages
from sessile.drive import Blocking, Face, run
from sessile.errors import Conflict, CorruptStore
from sessile.handle import Handle
from sessile.ids import RESERVED
from sessile.integrity import verify
from sessile.log import DELETED, Entry, Header
from sessile.plugins import installed
from sessile.store import Query, Store
from sessile.stores import find_store


@attrs.define
class Report:
    """What copying did. sessions, entries: copied now. same: sessions that were there already. problems: what was not
    copied, and why."""

    sessions: int = 0
    entries: int = 0
    same: int = 0
    problems: list[str] = attrs.field(factory=list)


class Copier:
    """Copies from `source` to `target`. check: read each session in the target and compare it, too."""

    def __init__(self, face: Face, source: Store, target: Store, *, check: bool = False) -> None:
        self.face = face
        self.source = source
        self.target = target
        self.check = check
        self.report = Report()
        self._done: set[str] = set()

    async def copy(self, user_id: str | None, since: float | None, progress: Callable[[int, int], None]) -> Report:
        """See `copy_store`."""
        query = Query(user_id=user_id, after=since, limit=1000)
        total = sum([len(page) async for page in pages(self.face, self.source, query)])
        number = 0
        async for page in pages(self.face, self.source, query):
            for header in page:
                progress(number, max(number, total))
                number += 1
                if header.status != DELETED:
                    await self._with_ancestors(header)
        progress(number, number)
        return self.report

    async def _with_ancestors(self, header: Header) -> None:
        line = [header]
        while line[-1].parent is not None and line[-1].parent not in self._done:
            above = await self.face.call(self.source.load, line[-1].parent)
            if above is None:
                break
            line.append(above)
        for one in reversed(line):
            if one.session_id not in self._done:
                self._done.add(one.session_id)
                await self._one(one)

    async def _one(self, header: Header) -> None:
        try:
            copied = await self._session(header)
        except (Conflict, CorruptStore) as error:
            self.report.problems.append(f"{header.session_id}: {error}")
            return
        if copied is None:
            self.report.same += 1
        else:
            self.report.sessions += 1
            self.report.entries += copied
        if self.check:
            await self._compare(header)

    async def _session(self, header: Header) -> int | None:
        """How many entries of a session were copied; None where it was there already."""
        there = await self.face.call(self.target.load, header.session_id)
        if there is not None and there.status != DELETED:
            if (there.version, there.commit) == (header.version, header.commit):
                return None
            return await self._bring_up(there, header)
        if there is None or not await self._is_beginning(there, header):
            if there is not None:
                await self.face.settle(self.target.delete, header.session_id)
            there = await append_as_is(self.face, self.target, _begun(header), [])
        count: int = header.head - there.head
        while there.head < header.head:
            there = await append_as_is(self.face, self.target, there, await self._entries(header, there.head, BATCH))
        await self._finish(there, header, [])
        return count

    async def _bring_up(self, there: Header, header: Header) -> int:
        """Add to a session that was copied before what was said since, in one commit: others may be reading it."""
        if not await self._is_beginning(there, header):
            raise Conflict("the target has another session of this id, or it was changed there: it was left as it is")
        entries: list[Entry] = []
        while there.head + len(entries) < header.head:
            entries += await self._entries(header, there.head + len(entries), 4096)
        await self._finish(there, header, entries)
        return len(entries)

    async def _is_beginning(self, there: Header, header: Header) -> bool:
        """Is what is in the target the beginning of the source's log?"""
        if there.head > header.head or there.user_id != header.user_id:
            return False
        return not there.head or (await self._entries(header, there.head - 1, 1))[0].hash == there.hash

    async def _entries(self, header: Header, start: int, count: int) -> list[Entry]:
        stop = min(start + count, header.head)
        entries: list[Entry] = await self.face.call(self.source.read, header.session_id, start, stop)
        if not entries:
            raise CorruptStore(f"entry {start} is missing in the source")
        return entries

    async def _finish(self, there: Header, header: Header, entries: list[Entry]) -> None:
        await self.face.settle(
            self.target.commit, header.session_id, expected=there.version, entries=entries, changes=header.to_dict()
        )

    async def _compare(self, header: Header) -> None:
        there = await self.face.call(self.target.load, header.session_id)
        if there is None or attrs.evolve(there, version=header.version) != header:
            self.report.problems.append(f"{header.session_id}: its header is another in the target")
        elif not header.session_id.startswith(RESERVED):
            found = await verify(Handle(self.face, self.target, header.session_id, plugins=installed()))
            if not found:
                self.report.problems.append(f"{header.session_id}: {found.problem}")


def copy_store(
    source: str | Store,
    target: str | Store,
    *,
    user_id: str | None = None,
    since: float | None = None,
    check: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Copy all sessions of a store (a URL or an instance) into another, and what state is shared.

    user_id: only that user's. since: only those changed since then (seconds since 1970, UTC). What they were forked from
    comes along. check: read each session in the target and compare it, too. progress: called with how many sessions
    were looked at, and of how many.
    """
    face = Blocking()
    stores, releases = zip(*(find_store(store) for store in (source, target)), strict=True)
    try:
        return run(Copier(face, *stores, check=check).copy(user_id, since, progress))
    finally:
        for release in releases:
            release()


def _begun(header: Header) -> Header:
    return Header(session_id=header.session_id, user_id=header.user_id, status=DELETED)
