"""Who waits for a change of a session is told by NOTIFY. One connection listens for all of a store, beside its pool."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import psycopg

_REMEMBERED = 10_000  # sessions whose version is known from the last notice of them


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
        self._versions: dict[str, int] = {}  # as the last notices said, oldest first
        self._asked = 0.0  # when somebody began to wait last
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
        async with self._starting:
            if self._task is None or self._task.done():
                connection = await self._connect()
                await connection.execute(f'LISTEN "{self._channel}"')
                self._task = asyncio.create_task(self._listen(connection))
        if self._versions.get(session_id) != version:  # it may have changed before anybody listened
            known = await look()
            if not told.done():
                self._remember(session_id, known)
            if known != version:
                return
        await told

    async def _listen(self, connection: Any) -> None:
        try:
            while time.monotonic() - self._asked < self._timeout or self._waiting:
                async for notice in connection.notifies(timeout=self._timeout):
                    version, _, session_id = notice.payload.partition(" ")
                    self._remember(session_id, int(version))
                    self._tell(session_id)
                await connection.execute("SELECT 1")
        except psycopg.Error:  # who goes on waiting connects anew, and hears of it
            pass
        finally:
            connection.pgconn.finish()
            self._versions.clear()
            for session_id in [*self._waiting]:
                self._tell(session_id)

    def _remember(self, session_id: str, version: int) -> None:
        self._versions.pop(session_id, None)
        self._versions[session_id] = version
        if len(self._versions) > _REMEMBERED:
            del self._versions[next(iter(self._versions))]

    def _tell(self, session_id: str) -> None:
        for told in self._waiting.get(session_id, ()):
            if not told.done():
                told.set_result(None)
