"""The change feed: one subscription, on a connection of its own, for all that somebody in this process waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import attrs
from redis import exceptions

_IDLE = 60.0  # seconds after which a channel that nobody waits for is left


@attrs.define
class _Channel:
    subscribed: asyncio.Future[None]
    heard: int = 0
    waiting: int = 0
    used: float = attrs.field(factory=time.monotonic)
    news: asyncio.Event = attrs.field(factory=asyncio.Event)  # another one for each message
    broken: BaseException | None = None

    def tell(self, broken: BaseException | None = None) -> None:
        self.heard += 1
        self.broken = broken
        self.news.set()
        self.news = asyncio.Event()


class Feed:
    """Receives messages on Redis channels. It runs on sessile's background event loop and connects on first use.

    connect: makes an async client, for this alone. timeout: seconds for the answer to a subscription.
    """

    def __init__(self, connect: Callable[[], Any], timeout: float) -> None:
        self._connect = connect
        self._timeout = timeout
        self._client: Any = None
        self._pubsub: Any = None
        self._listening: asyncio.Task[None] | None = None
        self._subscribing: set[asyncio.Task[None]] = set()
        self._channels: dict[str, _Channel] = {}
        self._lock = asyncio.Lock()

    async def listen(self, name: str) -> int:
        """Subscribe to a channel, unless that is done; the number of messages heard on it so far, for `wait`."""
        channel = self._channels.get(name)
        if channel is None:
            channel = self._channels[name] = _Channel(asyncio.get_running_loop().create_future())
            task = asyncio.ensure_future(self._subscribe(name))  # not the caller's, who may be cancelled
            self._subscribing.add(task)
            task.add_done_callback(self._subscribing.discard)
        channel.used = time.monotonic()
        try:
            await asyncio.wait_for(asyncio.shield(channel.subscribed), self._timeout)
        except TimeoutError:
            error = exceptions.TimeoutError("no answer to SUBSCRIBE")
            await self._lose(error)
            raise error from None
        return channel.heard

    async def wait(self, name: str, heard: int, timeout: float) -> None:
        """Return once a channel has told more than those, or after so many seconds."""
        channel = self._channels.get(name)
        if channel is None:  # the connection was lost: there may be news
            return
        channel.waiting += 1
        try:
            if channel.heard == heard:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(channel.news.wait(), timeout)
        finally:
            channel.waiting -= 1
            channel.used = time.monotonic()
        if channel.broken is not None:
            raise channel.broken

    async def _subscribe(self, name: str) -> None:
        async with self._lock:
            try:
                await self._leave_idle()
                if self._pubsub is None:
                    self._client = self._connect()
                    self._pubsub = self._client.pubsub()
                await self._pubsub.subscribe(name)
                if self._listening is None:
                    self._listening = asyncio.ensure_future(self._listen(self._pubsub))
            except Exception as error:  # `listen` raises it
                await self._lose(error)

    async def _leave_idle(self) -> None:
        long_ago = time.monotonic() - _IDLE
        idle = [name for name, channel in self._channels.items() if not channel.waiting and channel.used < long_ago]
        for name in idle:
            del self._channels[name]
        if idle and self._pubsub is not None:
            await self._pubsub.unsubscribe(*idle)

    async def _listen(self, pubsub: Any) -> None:
        try:
            while True:
                message = await pubsub.get_message(timeout=_IDLE)
                channel = self._channels.get(message["channel"].decode()) if message else None
                if channel is None:
                    continue
                if message["type"] == "message":
                    channel.tell()
                elif message["type"] == "subscribe" and not channel.subscribed.done():
                    channel.subscribed.set_result(None)
        except Exception as error:  # everybody who waits hears of it, and subscribes again
            self._listening = None
            await self._lose(error)

    async def _lose(self, error: BaseException) -> None:
        """Tell everybody that the connection is lost. The next one who listens makes another."""
        lost, self._channels = self._channels, {}
        for channel in lost.values():
            channel.tell(error)
            if not channel.subscribed.done():
                channel.subscribed.set_exception(error)
                channel.subscribed.exception()  # seen
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        listening, self._listening = self._listening, None
        pubsub, self._pubsub = self._pubsub, None
        client, self._client = self._client, None
        if listening is not None:
            listening.cancel()
            await asyncio.wait([listening])
        for one in (pubsub, client):
            if one is not None:
                with suppress(Exception):  # it may be broken
                    await one.aclose()
