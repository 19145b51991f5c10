"""One change stream tells all who wait for a session of a store to change. It has a client of its own, so that watchers take
no connection of the pool. It lives on sessile's background event loop, whichever face waits, and ends when nobody does.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from sessile.errors import SessileError
from sessile.store import Recent
from sessile_mongodb.connecting import explained, make_client

if TYPE_CHECKING:
    from sessile_mongodb.store import MongoSessionStore

_TURN = 1.0  # seconds that the server is asked for the next change at a time
_POLL = 0.25  # seconds between two looks where a server has no change streams
_IDLE = 5.0  # seconds without anybody who waits, after which it ends
_SEEN = 10_000  # sessions whose versions are remembered


class Feed:
    """What wakes those who wait. Its methods run on the background loop."""

    def __init__(self, store: MongoSessionStore) -> None:
        self.url = store.url
        self.collection = store.collection
        self.timeout = store.timeout
        self._waiting: defaultdict[str, set[asyncio.Future[SessileError | None]]] = defaultdict(set)
        self._seen = Recent[str, int](_SEEN)  # versions of sessions of which no change was told since
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()
        self._sessions: Any = None

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        """Return when the version may be another one, or after `timeout` seconds."""
        with explained(self.url):
            session_id.encode()  # else it would spoil the query for all
        if self._task is None:
            self._task = asyncio.ensure_future(self._run())
        changed = asyncio.get_running_loop().create_future()
        self._waiting[session_id].add(changed)
        try:
            await asyncio.wait_for(self._change(session_id, version, changed), timeout)
        except TimeoutError:
            pass
        finally:
            self._waiting[session_id].discard(changed)
            if not self._waiting[session_id]:
                del self._waiting[session_id]

    @property
    def running(self) -> bool:
        """Is there a client that has to be closed?"""
        return self._task is not None

    async def close(self) -> None:
        """End it. Who waits returns."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.wait([task])

    async def _change(self, session_id: str, version: int, changed: asyncio.Future[SessileError | None]) -> None:
        await self._listening.wait()
        if not changed.done() and self._seen.get(session_id) != version:  # it may have changed before anybody listened
            self._seen[session_id] = found = (await self._versions([session_id])).get(session_id, 0)
            if found != version:
                return
        if (error := await changed) is not None:
            raise error

    async def _run(self) -> None:
        error: SessileError | None = None
        client = make_client(self.url, asynchronous=True, pool_size=2, timeout=self.timeout)
        self._sessions = client.get_default_database("sessile")[self.collection]
        try:
            with explained(self.url):
                await self._listen()
        except SessileError as problem:
            error = problem
        finally:
            self._task = None  # who waits from now on begins anew
            self._listening.set()
            self._listening = asyncio.Event()
            self._wake([*self._waiting], error)
            await client.close()

    async def _listen(self) -> None:
        """Wake those whose session has changed, until nobody has waited for some time."""
        waited = time.monotonic()
        async with aclosing(self._changes()) as changes:
            async for session_ids in changes:
                self._wake(session_ids)
                if self._waiting:
                    waited = time.monotonic()
                elif time.monotonic() - waited > _IDLE:
                    break

    def _wake(self, session_ids: list[str], error: SessileError | None = None) -> None:
        for session_id in session_ids:
            self._seen.pop(session_id, None)
            for changed in self._waiting.get(session_id, ()):
                if not changed.done():
                    changed.set_result(error)

    async def _changes(self) -> AsyncGenerator[list[str], None]:
        """The ids of sessions that have changed; now and then none."""
        milliseconds = round(min(_TURN, self.timeout / 2) * 1000)
        self._seen.clear()
        try:
            stream = await self._sessions.watch([{"$project": {"documentKey": 1}}], max_await_time_ms=milliseconds)
        except OperationFailure:  # a standalone server, or a user who may not
            stream = None
        self._listening.set()
        if stream is None:
            while True:
                await asyncio.sleep(_POLL)
                versions = await self._versions(waiting := [*self._waiting])
                yield [name for name in waiting if self._seen.get(name) not in (None, versions.get(name, 0))]
        async with stream:
            while stream.alive:
                change = await stream.try_next()
                yield [change["documentKey"]["_id"]] if change and "documentKey" in change else []

    async def _versions(self, session_ids: list[str]) -> dict[str, int]:
        """The versions of sessions, as far as they are there."""
        with explained(self.url):
            found = await self._sessions.find({"_id": {"$in": session_ids}}, {"version": 1}).to_list()
        return {document["_id"]: document["version"] for document in found if "version" in document}
