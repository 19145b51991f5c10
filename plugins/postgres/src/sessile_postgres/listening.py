"""Who waits for a change of a session is told by NOTIFY. One connection listens for all of a store, beside its pool.

PostgreSQL makes all commits that send NOTIFY wait for one another. So a commit sends it only if somebody listens: a listener
holds a shared advisory lock, and the commit tests that lock.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg

from sessile.store import Recent

_REMEMBERED = 10_000  # sessions whose version is known from the last notice of them
_UNHEARD = 1.0  # seconds after which no commit is under way any more that saw nobody listen


def notice(channel: str, version: str) -> str:
    """An SQL expression that tells those who listen, if anybody does, of a version of the row's session."""
    lock = _lock(channel)
    return (
        f"CASE WHEN pg_try_advisory_lock({lock}) THEN pg_advisory_unlock({lock})::text "
        f"ELSE pg_notify('{channel}', {version} || ' ' || session_id)::text END"
    )


def _lock(channel: str) -> str:
    return f"hashtext('sessile'), hashtext('{channel}')"


class Listener:
    """Lives on one event loop. connect: makes a connection. A notice is a version (0: deleted), a space and a session id.

    timeout: seconds without a notice after which the server is asked whether it is there; where nobody has waited for as
    long, the connection is closed.
    """

    def __init__(self, connect: Callable[[], Any], channel: str, timeout: float) -> None:
        self._connect = connect
        self._channel = channel
        self._timeout = timeout
        self._waiting: defaultdict[str, set[asyncio.Future[None]]] = defaultdict(set)
        self._versions = Recent[str, int](_REMEMBERED)  # as the last notices said
        self._asked = self._began = 0.0  # when somebody began to wait last, and the connection to listen
        self._starting = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None

    async def wait(self, session_id: str, version: int, timeout: float, look: Callable[[], Awaitable[int]]) -> None:
        """Return when the version may be another one, or after `timeout` seconds. look: asks the store for it."""
        self._asked = time.monotonic()
        told = asyncio.get_running_loop().create_future()
        self._waiting[session_id].add(told)
        try:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._until(told, session_id, version, look), timeout)
        finally:
            self._waiting[session_id].discard(told)
            if not self._waiting[session_id]:
                del self._waiting[session_id]

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _until(self, told: asyncio.Future[None], session_id: str, version: int, look: Callable[[], Awaitable[int]]) -> None:
        async def look_again() -> int:
            found = await look()
            if not told.done():
                self._versions[session_id] = found
            return found

        async with self._starting:
            if self._task is None or self._task.done():
                self._task = asyncio.create_task(self._listen(await self._start()))
                self._began = time.monotonic()
        if self._versions.get(session_id) != version and await look_again() != version:
            return
        if time.monotonic() - self._began < _UNHEARD:
            await asyncio.wait([told], timeout=_UNHEARD)
            if not told.done() and await look_again() != version:
                return
        await told

    async def _start(self) -> Any:
        connection = await self._connect()
        try:
            await connection.execute(f"SELECT pg_advisory_lock_shared({_lock(self._channel)})")
            await connection.execute(f"LISTEN {self._channel}")
        except BaseException:
            connection.pgconn.finish()
            raise
        return connection

    async def _listen(self, connection: Any) -> None:
        try:
            while time.monotonic() - self._asked < self._timeout or self._waiting:
                async for heard in connection.notifies(timeout=self._timeout):
                    version, _, session_id = heard.payload.partition(" ")
                    self._versions[session_id] = int(version)
                    self._tell(session_id)
                await connection.execute("SELECT 1")
        except psycopg.Error:  # who goes on waiting connects anew, and hears of it
            pass
        finally:
            connection.pgconn.finish()
            self._versions.clear()
            for session_id in [*self._waiting]:
                self._tell(session_id)

    def _tell(self, session_id: str) -> None:
        for told in self._waiting.get(session_id, ()):
            if not told.done():
                told.set_result(None)
