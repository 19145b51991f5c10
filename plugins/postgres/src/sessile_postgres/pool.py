"""A pool of connections of either face.

Whoever needs a connection makes it, so that the error says why there is none, and at once. A connection that is lost takes the
others with it that were made before: after a restart or a failover each caller meets one of them at most.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from sessile.store import maybe
from sessile_postgres.connecting import Lost, NoAnswer

_IDLE = 600  # seconds that a connection is kept unused
_OLD = 3600  # seconds that a connection is used at all: a server's process grows


class Pool:
    """Up to `size` connections. connect: makes one. timeout: seconds to wait until one is free."""

    def __init__(self, connect: Callable[[], Any], *, asynchronous: bool, size: int, timeout: float) -> None:
        self._connect = connect
        self._asynchronous = asynchronous
        self._size = size
        self._timeout = timeout
        self._free: Any = asyncio.Semaphore(size) if asynchronous else threading.Semaphore(size)
        self._idle: deque[Any] = deque()  # the one that was used last at the end, which is the next to be used
        self._lock = threading.Lock()
        self._generation = 0  # of connections: one more each time that one is lost
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Any]:
        """A connection for one caller. `Lost` where it does not serve any more, though it had been made."""
        await self._wait()
        try:
            connection = self._take() or await self._make()
            try:
                yield connection
            except psycopg.errors.ReadOnlySqlTransaction as error:  # a primary that is none any more
                self._lose(connection)
                raise Lost(str(error)) from error
            except psycopg.OperationalError as error:
                if not connection.closed:
                    raise
                self._lose(connection)
                if isinstance(error, NoAnswer):
                    raise
                raise Lost(str(error)) from error
            finally:
                self._give_back(connection)
        finally:
            self._free.release()

    def close(self) -> None:
        """Close the connections: those in use when they come back."""
        self._closed = True
        with self._lock:
            self._drop_idle()

    async def _wait(self) -> None:
        try:
            if not self._asynchronous:
                free = self._free.acquire(timeout=self._timeout)
            elif self._free.locked():
                free = await asyncio.wait_for(self._free.acquire(), self._timeout)
            else:
                free = await self._free.acquire()
        except TimeoutError:
            free = False
        if not free:
            raise psycopg.OperationalError(
                f"all {self._size} connections were in use for {self._timeout:g} s: is pool_size large enough?"
            )

    async def _make(self) -> Any:
        generation = self._generation
        connection = await maybe(self._connect())
        connection.generation, connection.made = generation, time.monotonic()
        return connection

    def _take(self) -> Any:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _give_back(self, connection: Any) -> None:
        now = connection.used = time.monotonic()
        with self._lock:
            usable = connection.pgconn.transaction_status == TransactionStatus.IDLE and now - connection.made < _OLD
            if usable and connection.generation == self._generation and not self._closed:
                self._idle.append(connection)
            else:
                connection.pgconn.finish()
            while self._idle and now - self._idle[0].used > _IDLE:
                self._idle.popleft().pgconn.finish()

    def _lose(self, connection: Any) -> None:
        with self._lock:
            if connection.generation == self._generation:
                self._generation += 1
                self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().pgconn.finish()
