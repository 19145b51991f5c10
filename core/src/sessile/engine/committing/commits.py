"""Commits to one store: asking it again while it does not answer, finding out whether a commit has landed, and trying again
after a conflict. One policy for all that commits."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any

from sessile.drive.faces import Face
from sessile.errors import Conflict, Missing, StoreUnavailable
from sessile.log.encoding import JSON
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.log.ids import new_log_id, owner_of
from sessile.log.leases import in_use, may_commit
from sessile.log.stamping import Change, clock, ends_with, stamp
from sessile.store.capabilities import Capabilities
from sessile.store.waist import Store, conflict

# What to set in a header (None: nothing, as it is), asked of the newest one; of None where there is none.
HeaderChange = Callable[[Header | None], Awaitable[dict[str, JSON] | None]]

_AT_ONCE = 2  # conflicts after which the next attempt does not wait
_LONGEST = 0.05  # seconds
_FIRST = 1.0  # seconds that a store is asked again that never answered: its address may be wrong


def overtaken(session_id: str, found: Header | None) -> Conflict:
    """The `Conflict` for a session that changed since its handle last read it."""
    return Conflict(
        f"session {session_id!r} was changed by somebody else since this handle last read it: look what is new (such as "
        "session.messages), then do it again",
        found,
    )


class Retrying:
    """The conflicts of one commit. timeout: seconds from the first one after which it gives up. what: it commits to."""

    def __init__(self, face: Face, timeout: float, what: str) -> None:
        self._face = face
        self._timeout = timeout
        self._what = what
        self._conflicts = 0
        self._give_up = 0.0

    async def lost(self, conflict: Conflict) -> bool:
        """Wait a random time after a conflict, so that no caller always wins.

        Returns whether it has waited, so that what the conflict holds is old. `Conflict` when the time is over.
        """
        now = time.monotonic()
        self._give_up = self._give_up or now + self._timeout
        if now >= self._give_up:
            raise Conflict(
                f"others committed to {self._what} first for {self._timeout} s: try again, or pass a longer timeout",
                conflict.header,
            ) from conflict
        self._conflicts += 1
        if self._conflicts <= _AT_ONCE:
            return False
        await self._face.pause(random.random() * min(0.001 * 2 ** min(self._conflicts, 9), _LONGEST))
        return True


TellGone = Callable[[Header], Awaitable[object]]


class Commits:
    """A store as the engine uses it. timeout: seconds after which a store that does not answer is given up."""

    def __init__(self, face: Face, store: Store, timeout: float = 30) -> None:
        self.face = face
        self.store = store
        self.can = Capabilities.of(store)
        self.timeout = timeout
        self.patience = timeout  # seconds to wait until a session that is used exclusively is free
        self.answered = False
        self.tell_gone: TellGone | None = None  # called with the header of each session whose deletion is finished here

    def patient(self, seconds: float) -> Commits:
        """The same, with another patience."""
        other = Commits(self.face, self.store, self.timeout)
        other.patience, other.answered, other.tell_gone = max(0.0, seconds), self.answered, self.tell_gone
        return other

    async def ask(self, method: Callable[..., Any], *args: Any) -> Any:
        """Call a method of the store that reads; again while it does not answer."""
        return await self._insist(self.face.call, method, *args)

    async def tell(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a method of the store that writes and may be called twice; again while it does not answer."""
        await self._insist(self.face.settle, method, *args, **kwargs)

    async def _insist(self, way: Callable[..., Any], method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        pause, give_up = 0.0, 0.0
        while True:
            try:
                result = await way(method, *args, **kwargs)
            except StoreUnavailable:
                now = time.monotonic()
                give_up = give_up or now + (self.timeout if self.answered else min(self.timeout, _FIRST))
                if now > give_up:
                    raise
            else:
                self.answered = True
                return result
            pause = min(2 * pause + 0.01, 0.5)
            await self.face.pause(pause)

    def retrying(self, what: str) -> Retrying:
        """The retry policy after conflicts. what: names the target in error messages, such as "session 's'"."""
        return Retrying(self.face, self.timeout, what)

    async def load(self, session_id: str) -> Header | None:
        """The header of a session as the store has it now, whatever its status."""
        found: Header | None = await self.ask(self.store.load, session_id)
        return found

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        """A range of a log, whole; else `Missing`."""
        entries: list[Entry] = await self.ask(self.store.read, log, start, stop, kind)
        return entries

    async def put(self, before: Header, entries: Sequence[Entry], fields: Mapping[str, JSON]) -> Header:
        """Commit behind a header and return the one after it. `Conflict` where somebody else committed first.

        After a lost answer the store is asked whether the commit has landed: it is never stored twice.
        """
        give_up = 0.0
        while True:
            try:
                await self.face.settle(
                    self.store.commit, before.session_id, expected=before.version, entries=entries, changes=fields
                )
            except Conflict as lost:
                found: Header | None = lost.header
                if found is not None and found.commit == fields["commit"]:
                    return found  # a driver sent it twice, and the first time it landed
                raise
            except StoreUnavailable:
                now = time.monotonic()
                give_up = give_up or now + self.timeout
                if now > give_up:
                    raise
                await self.face.pause(0.02)
                found = await self.load(before.session_id)
                if await self._landed(found, before, entries, fields):
                    return before.after(fields)  # not what was found: others may have committed behind it
                if (found.version if found else 0) != before.version:
                    raise conflict(before.session_id, before.version, found) from None
            else:
                self.answered = True
                return before.after(fields)

    async def _landed(self, found: Header | None, before: Header, entries: Sequence[Entry], fields: Mapping[str, JSON]) -> bool:
        """Is a commit in the log of the header that was found?"""
        if found is None or found.log != fields.get("log", before.log) or found.version == before.version:
            return False
        if found.commit == fields["commit"] or not before.version:  # nobody else makes a log of this id
            return True
        if not entries or found.head <= entries[0].position:
            return False
        try:
            stored = await self.read(found.log, entries[0].position, entries[0].position + 1)
        except Missing:
            return False
        return stored[0].hash == entries[0].hash  # ids may be callers' own, or of copies

    async def stored(self, log: str, start: int, ids: Collection[str]) -> tuple[Header | None, list[Entry]]:
        """What a commit that was cut short has stored: the entries of these ids in a log, from a position on.

        With the header that there is now, where these are the last.
        """
        found = await self.load(owner_of(log))
        if found is None or found.log != log:
            return None, []
        entries = [entry for entry in await self.read(log, start, found.head) if entry.id in ids]
        return found if entries and ends_with(found.commit, entries[-1]) else None, entries

    async def change(self, before: Header, **fields: JSON) -> Header:
        """Set header fields, or store a first header. `Conflict` where somebody else committed first."""
        entries, changes = stamp(before, Change(fields=fields), clock())
        return await self.put(before, entries, changes)

    async def change_newest(
        self,
        session_id: str,
        found: Header | None,
        fields: HeaderChange,
        what: str,
    ) -> Header | None:
        """Set what `fields` makes of the newest header (None: there is none); after a conflict it is asked again.

        found: the header as last seen. `fields` returns None for nothing, as it is. Returns the header there is then. what: it
        changes, in an error's words.
        """
        again = self.retrying(what)
        while True:
            changes = await fields(found)
            if changes is None:
                return found
            try:
                return await self.change(found or Header(session_id=session_id, log=new_log_id(session_id)), **changes)
            except Conflict as lost:
                late = await again.lost(lost)
                found = await self.load(session_id) if late or lost.header is None else lost.header

    async def remove(self, header: Header) -> bool:
        """Remove a header if it is still the stored one. Returns whether it was."""
        try:
            await self.tell(self.store.delete, header.session_id, expected=header.version)
        except Conflict:
            return False
        return True

    async def prune(self, log: str, keep: int) -> None:
        """Drop the entries of a log from a position on."""
        await self.tell(self.store.prune, log, keep)

    async def until_free(self, header: Header, token: int | None) -> Header:
        """Wait until the session's lease allows this token to commit. The newest header; the given one, if the session is gone.

        `LockTimeout` when `patience` is over first, `LeaseLost` where the token's own lease is.
        """
        give_up = time.monotonic() + self.patience
        while not may_commit(header.session_id, header.lease, token):
            if time.monotonic() > give_up:
                raise in_use(header.session_id, self.timeout)
            await self.face.pause(0.02)
            found = await self.load(header.session_id)
            if found is None or found.log != header.log:
                return header
            header = found
        return header
