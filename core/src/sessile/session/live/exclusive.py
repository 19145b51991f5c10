"""Exclusive use of a session: a lease, kept in the header like everything else, so that every store has it.

Each lease has a fencing token, a number that grows (M. Kleppmann, "How to do distributed locking", 2016): a holder whose
lease is over, or was taken by another, cannot commit, however late it finds out. Clocks only say when a lease may be
taken from a holder that is gone.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sessile.drive.background import running_loop
from sessile.drive.faces import run
from sessile.drive.once import mark
from sessile.engine.handle import Handle
from sessile.errors import InvalidInput, LeaseLost, SessileError, SessionNotFound
from sessile.log.header import Header
from sessile.log.leases import held, in_use
from sessile.log.stamping import Change

_PAUSE = 0.02  # seconds between two attempts
_acquired = mark("the leases that this code has")


_entered: WeakSet[Lease] = WeakSet()  # leases whose handle's `alone` lock is held


def _begin_in_child() -> None:
    """In a forked child, nobody has what the parent has: the leases stay the parent's."""
    for lease in list(_entered):
        lease._h.lease, lease._h.token, lease._h.alone = None, None, threading.Lock()
    _entered.clear()
    _acquired.set(())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)


class Lease:
    """Exclusive use of a session, for `with` or `async with`: only its own handle may commit meanwhile.

    Tasks and threads that share the handle are kept apart where each asks for a lease: the second waits for the first.
    token: the fencing token, once it is held.
    """

    def __init__(self, h: Handle, timeout: float, lease: float) -> None:
        self._h = h
        self._timeout = timeout
        self._seconds = lease
        self._written: list[dict[str, Any]] = []  # the lease as it may be in the header: a commit that failed may have landed
        self._task: Any = None  # where it was acquired; None: in no task

    @property
    def token(self) -> int | None:
        return self._written[-1]["token"] if self._written else None

    def acquire(self) -> Any:
        """What `with` does at its beginning. Awaited with an `AsyncSession`.

        `LockTimeout` where others have the lease all the time, `InvalidInput` where this very task or thread has it already.
        """
        return self._acquire() if self._h.face.awaits else run(self._acquire())

    def release(self) -> Any:
        """Give the lease back, if it is still held, as `with` does at its end. Awaited with an `AsyncSession`."""
        return self._release() if self._h.face.awaits else run(self._release())

    async def _acquire(self) -> None:
        """Wait for the lease and take it. `LockTimeout` where others have it all the time.

        `InvalidInput` where this very task, or thread, has it already: it would wait for itself.
        """
        h = self._h
        self._task = _current_task()
        if any(
            mine._is_of(h) and (None in (self._task, mine._task) or self._task is mine._task) for mine in _acquired.get() or ()
        ):
            raise InvalidInput(
                f"session {h.session_id!r} is used exclusively here already: a second lease would wait for the first"
            )
        give_up = time.monotonic() + self._timeout
        while not h.alone.acquire(blocking=False):
            await self._pause(give_up)
        _entered.add(self)
        try:
            await h.refresh()
            while not await self._take():
                await self._pause(give_up)
                await h.refresh()
        except BaseException:
            with suppress(SessileError):
                await h.refresh()  # a cancelled commit may have landed
            await self._release()
            raise
        _acquired.set((*(_acquired.get() or ()), self))

    async def _pause(self, give_up: float) -> None:
        if time.monotonic() > give_up:
            raise in_use(self._h.session_id, self._timeout)
        await self._h.face.pause(_PAUSE)

    def _is_of(self, h: Handle) -> bool:
        """Is it held, and by this handle or a view of it?"""
        return self.token is not None and self._h.alone is h.alone

    async def _take(self) -> bool:
        def take(header: Header) -> Change | None:
            self._written = []
            if held(header.lease):
                return None
            return self._write((header.lease or {}).get("token", 0) + 1)

        await self._h.commit(take, on_conflict="rebase", leased=True)
        self._h.token = self.token
        self._h.lease = self if self.token is not None else None
        return self.token is not None

    def _write(self, token: int) -> Change:
        self._written.append({"token": token, "until": time.time() + self._seconds})
        return Change(fields={"lease": self._written[-1]})

    def renew(self) -> Any:
        """Extend the lease by its original duration. Awaited with an `AsyncSession`. Raises `LeaseLost` if it has ended."""
        return self._renew() if self._h.face.awaits else run(self._renew())

    async def _renew(self) -> None:
        if (token := self.token) is None:
            raise LeaseLost(f"the lease on session {self._h.session_id!r} is not held: acquire it first")
        await self._h.commit(lambda header: self._write(token))
        del self._written[:-1]

    async def _release(self) -> None:
        """Give the lease back, if it is still held."""
        h, written = self._h, self._written
        if self not in _entered:
            return

        def given_back(header: Header) -> Change | None:
            return Change(fields={"lease": {**header.lease, "until": 0.0}}) if header.lease and header.lease in written else None

        h.lease, h.token, self._written = None, None, []
        _acquired.set(tuple(lease for lease in (_acquired.get() or ()) if lease is not self))
        try:
            if written and not h.closed:
                with suppress(SessionNotFound):  # deleted, and its lease with it
                    await h.commit(given_back, on_conflict="rebase", leased=True)
        finally:
            _entered.discard(self)
            h.alone.release()

    def __enter__(self) -> Lease:
        if self._h.face.awaits:
            raise InvalidInput("an AsyncSession is used exclusively with `async with session.exclusive()`, not with `with`")
        run(self._acquire())
        return self

    def __exit__(self, *_: object) -> None:
        run(self._release())

    async def __aenter__(self) -> Lease:
        if not self._h.face.awaits:
            raise InvalidInput("a Session is used exclusively with `with session.exclusive()`, not with `async with`")
        await self._acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._release()


def _current_task() -> Any:
    """The task that this code runs in; None outside of event loops, as in a blocking layer's thread."""
    if running_loop() is None:
        return None
    import asyncio

    return asyncio.current_task()
