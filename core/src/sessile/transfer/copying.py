"""Copying sessions from one store into another as they are: with their lineage, snapshots and hashes.

Each log gets a new id in the target. A session is there whole, or not at all. Copying again brings what was said since; a
session is known as the same by the hash of its last entry.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection
from contextlib import ExitStack
from datetime import datetime

import attrs

from sessile.drive.arguments import checked
from sessile.drive.faces import Blocking, run
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import clear_leftover, ids_and_logs
from sessile.engine.committing.heirs import keep_inherited
from sessile.engine.handle import Handle
from sessile.errors import Conflict, CorruptStore, InvalidInput, LockTimeout, Missing, SessionExists, SessionNotFound
from sessile.graph.integrity import verify
from sessile.log.header import UNSEEN, Ancestor, Header
from sessile.log.ids import RESERVED, new_log_id, owner_of
from sessile.log.lineage import inherited_end, torn
from sessile.log.stamping import altered, altered_text, ends_otherwise, new_commit_id, next_version
from sessile.plugins.discovery import installed
from sessile.store.opening import StoreLike, find_store
from sessile.store.waist import Query
from sessile.transfer.transplant import BATCH, OF_THE_LOG, Pages, Transplant

Progress = Callable[[int, int], None]
_COPIED = ("", f"{RESERVED}user:", f"{RESERVED}app")  # how the ids of what is copied begin: sessions, and state they share


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

    def __init__(self, source: Commits, target: Commits, *, check: bool = False) -> None:
        self.source = source
        self.target = target
        self.check = check
        self.report = Report()
        self._transplant = Transplant(target)
        self._done: set[str] = set()  # logs of sessions that were looked at
        self._logs: dict[str, Ancestor] = {}  # by log in the source, one in the target and how many of the entries that has
        self._partly: set[str] = set()  # logs in the target that are kept for forks only and hold just the inherited part

    async def copy(self, user_id: str | None, since: float | datetime | None, progress: Progress) -> Report:
        """See `copy_store`."""
        found = await ids_and_logs(self.source, Query(user_id=user_id, after=since, limit=1000), prefixes=_COPIED)
        async with self._transplant:
            for number, (session_id, log) in enumerate(found):
                progress(number, len(found))
                if log not in self._done and (header := await self._now(session_id, log)) is not None:
                    await self._with_ancestors(header)
        if user_id is None and since is None:
            await self._name_unreadable({session_id for session_id, _ in found})
        progress(len(found), len(found))
        return self.report

    async def _name_unreadable(self, found: Collection[str]) -> None:
        """Name the sessions that no list shows, as their headers cannot be read."""
        logs = await self.source.ask(self.source.can.logs) if self.source.can.logs else []
        for name in sorted({owner_of(log) for log in logs} - {*found}):
            try:
                await self.source.load(name)
            except CorruptStore as error:
                self.report.problems.append(f"{name}: {error}")

    async def _now(self, session_id: str, log: str) -> Header | None:
        """A session of the source as it is now; None where it was deleted meanwhile, or cannot be read."""
        try:
            header = await self.source.load(session_id)
        except CorruptStore as error:
            self._done.add(log)
            self.report.problems.append(f"{session_id}: {error}")
            return None
        return header if header is not None and header.log == log and header.status not in UNSEEN else None

    async def _with_ancestors(self, header: Header) -> None:
        for row in header.ancestors:
            if row.log not in self._done and (above := await self._now(owner_of(row.log), row.log)) is not None:
                await self._one(above)
        await self._one(header)

    async def _one(self, header: Header) -> None:
        self._done.add(header.log)
        try:
            copied = await self._session(header)
        except (Conflict, SessionExists, SessionNotFound, LockTimeout, Missing, CorruptStore, InvalidInput) as error:
            self.report.problems.append(f"{header.session_id}: {error}")
            return
        if copied:
            self.report.sessions += 1
        else:
            self.report.same += 1
        if self.check:
            await self._compare(header)

    async def _session(self, header: Header) -> bool:
        """Copy a session. False where it was there already."""
        there = await self.target.load(header.session_id)
        if there is not None and there.status in UNSEEN:  # cut short
            await clear_leftover(self.target, there)
            there = None
        if there is not None:
            return await self._bring_up(there, header)
        ancestors = [Ancestor(await self._log_for(header, depth), row.stop) for depth, row in enumerate(header.ancestors)]
        await self._check_inherited(header)
        if header.hash and not header.head:
            raise CorruptStore(ends_otherwise(header.log))
        own = self._pages(header.log, 0, header.head, header.hash)
        names = {"session_id": header.session_id, "user_id": header.user_id}
        written = await self._transplant.write_session(header, own, ancestors, **names)
        self._logs[header.log] = Ancestor(written.log, header.head)
        return True

    async def _bring_up(self, there: Header, header: Header) -> bool:
        """Add to a session that was copied before what was said since, in one commit: others may be reading it.

        Its title, metadata and status are the target's own from then on.
        """
        behind = there.head < header.head
        if behind:
            there = await self.target.until_free(there, None)
        if not await self._is_beginning(there, header):
            raise Conflict("the target has another session of this id, or it was changed there: it was left as it is")
        behind = there.head < header.head  # nobody else has brought it up meanwhile
        if behind:
            added = self._pages(header.log, there.head, header.head, header.hash)
            entries = [entry async for page in added for entry in page]
            content = header.to_dict()
            fields = {name: content[name] for name in OF_THE_LOG}
            fields.update(await keep_inherited(self.target, there))
            await self.target.put(there, entries, {**next_version(there, header.updated_at, new_commit_id(entries)), **fields})
        self._logs[header.log] = Ancestor(there.log, header.head)  # not before it has them
        return behind

    async def _is_beginning(self, there: Header, header: Header) -> bool:
        """Is what is in the target the beginning of the source's log?"""
        if there.head > header.head or (there.user_id, there.depth) != (header.user_id, header.depth):
            return False
        return not there.head or await self._hash(header.log, there.head) == there.hash

    async def _hash(self, log: str, stop: int) -> str:
        """The hash of the last of the first `stop` entries of a log in the source."""
        (last,) = await self.source.read(log, stop - 1, stop)
        return last.hash

    async def _log_for(self, header: Header, depth: int) -> str:
        """The log in the target that has what a session inherits from an ancestor's: its session's, else a hidden owner's."""
        row = header.ancestors[depth]
        known = self._logs.get(row.log)
        if not row.stop:
            return known.log if known else new_log_id(owner_of(row.log))
        if known is None or known.stop < row.stop:
            self._logs[row.log] = known = await self._with_enough(header, depth, known)
        return known.log

    async def _with_enough(self, header: Header, depth: int, known: Ancestor | None) -> Ancestor:
        """A log in the target that has all a session inherits from an ancestor's, where the one known has not."""
        row = header.ancestors[depth]
        if known is not None and known.log in self._partly:
            await self._transplant.write_more(known.log, self._pages(row.log, known.stop, row.stop))
            return Ancestor(known.log, row.stop)
        log = await self._there(header, row, depth)
        if log is None:
            log = await self._transplant.write_log(self._pages(row.log, 0, row.stop), header.user_id)
            self._partly.add(log)
        return Ancestor(log, row.stop)

    async def _there(self, header: Header, row: Ancestor, depth: int) -> str | None:
        """The log of the ancestor's session in the target, where that was copied before."""
        there = await self.target.load(owner_of(row.log))
        if there is None or there.hidden or (there.user_id, there.depth) != (header.user_id, depth) or there.head < row.stop:
            return None
        (last,) = await self.target.read(there.log, row.stop - 1, row.stop)
        return there.log if last.hash == await self._hash(row.log, row.stop) else None

    async def _pages(self, log: str, start: int, stop: int, end: str | None = None) -> Pages:
        """Entries of a log, in parts. `CorruptStore` where one was altered. end: the hash of the last one, where it is known."""
        last = await self._hash(log, start) if start else ""
        for begin in range(start, stop, BATCH):
            entries = await self.source.read(log, begin, min(begin + BATCH, stop))
            if (position := altered(entries, begin, last)) is not None:
                raise CorruptStore(altered_text(position, log))
            last = entries[-1].hash
            if begin + BATCH >= stop and end not in (None, last):
                raise CorruptStore(ends_otherwise(log))
            self.report.entries += len(entries)
            yield entries

    async def _check_inherited(self, header: Header) -> None:
        """`CorruptStore` where the last entry that a fork inherits is not the one that it was forked behind."""
        if not header.ancestors or not header.head:
            return
        (first,) = await self.source.read(header.log, 0, 1)
        if (end := inherited_end(first)) is not None:
            (last,) = await self.source.read(header.log_at(end.depth), (end.stop or 0) - 1, end.stop or 0)
            if problem := torn(first, last, end.depth):
                raise CorruptStore(problem)

    async def _compare(self, header: Header) -> None:
        there = await self.target.load(header.session_id)
        if there is None or any(getattr(there, name) != getattr(header, name) for name in ("user_id", *OF_THE_LOG)):
            self.report.problems.append(f"{header.session_id}: its header is another in the target")
            return
        found = await verify(Handle(self.target.face, self.target.store, header.session_id, plugins=installed()))
        if not found:
            self.report.problems.append(f"{header.session_id}: {found.problem}")


@functools.partial(checked, skip=0)
def copy_store(
    source: StoreLike,
    target: StoreLike,
    *,
    user_id: str | None = None,
    since: float | datetime | None = None,
    verify: bool = False,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Copy all sessions of a store (a URL or an instance, as for `Session`) into another, and what state is shared.

    user_id: only this user's sessions. since: only sessions changed since then (seconds since 1970, UTC, or an aware
    datetime). What they were forked from comes along. verify: read each session in the target and compare it, too. progress:
    called with how many sessions were looked at, and of how many.

    The source may be in use: each session is copied as it is when its turn comes, and one that is begun or forked meanwhile
    may be left out until the next copy. One of the target that somebody uses exclusively is waited for.
    """
    face = Blocking()
    with ExitStack() as opened:
        ends = []
        for store in (source, target):
            found, release = find_store(store)
            opened.callback(release)
            ends.append(Commits(face, found))
        return run(Copier(*ends, check=verify).copy(user_id, since, progress))
