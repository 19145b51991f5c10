"""Exclusive use of a session: a lease, kept in the header like everything else, so that every store has it.

Each lease has a fencing token, a number that grows (M. Kleppmann, "How to do distributed locking", 2016): a holder whose
lease is over, or was taken by another, cannot commit, however late it finds out. Clocks only say when a lease may be
taken from a holder that is gone.
"""

from __future__ import annotations

import time
from contextlib import suppress

from sessile.drive import run
from sessile.errors import InvalidInput, SessionNotFound
from sessile.handle import Handle
from sessile.leases import held, in_use
from sessile.log import Change, Header

_PAUSE = 0.02  # seconds between two attempts


class Lease:
    """Exclusive use of a session, for `with` or `async with`: only its own handle may commit meanwhile.

    token: the fencing token, once it is held.
    """

    def __init__(self, h: Handle, timeout: float, lease: float | None) -> None:
        if timeout <= 0 or (lease is not None and lease <= 0):
            raise InvalidInput(f"timeout={timeout!r}, lease={lease!r}: both are numbers of seconds above 0")
        self._h = h
        self._timeout = timeout
        self._seconds = timeout if lease is None else lease
        self.token: int | None = None

    async def acquire(self) -> None:
        """Wait for the lease and take it. `LockTimeout` where others have it all the time."""
        h = self._h
        if h.token is not None:
            raise InvalidInput(f"this handle of session {h.session_id!r} has the lease already: open another to wait for it")
        give_up = time.time() + self._timeout
        await h.refresh()
        while not await self._take():
            if time.time() > give_up:
                raise in_use(h.session_id, self._timeout)
            await h.face.pause(_PAUSE)
            await h.refresh()

    async def _take(self) -> bool:
        h = self._h
        taken: list[int] = []

        def take(header: Header) -> Change | None:
            taken.clear()
            if held(header.lease):
                return None
            taken.append((header.lease or {}).get("token", 0) + 1)
            return Change(fields={"lease": {"token": taken[0], "until": time.time() + self._seconds}})

        await h.commit(take, on_conflict="rebase", leased=True)
        self.token = h.token = taken[0] if taken else None
        return bool(taken)

    async def renew(self) -> None:
        """Hold on for as long again. `LeaseLost` where it is over already."""
        await self._h.commit(lambda header: Change(fields={"lease": {"token": self.token, "until": time.time() + self._seconds}}))

    async def release(self) -> None:
        """Give the lease back, if it is still held."""
        h, token = self._h, self.token
        self.token = h.token = None
        over = {"token": token, "until": 0.0}

        def give_back(header: Header) -> Change | None:
            return Change(fields={"lease": over}) if (header.lease or {}).get("token") == token else None

        if not h.closed:
            with suppress(SessionNotFound):  # deleted, and its lease with it
                await h.commit(give_back, on_conflict="rebase", leased=True)

    def __enter__(self) -> Lease:
        run(self.acquire())
        return self

    def __exit__(self, *_: object) -> None:
        run(self.release())

    async def __aenter__(self) -> Lease:
        await self.acquire()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.release()
