"""Watching: what is said in a session, by anybody and from anywhere, as it is said."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from sessile.conversation.messages import Message, from_entry, handed_out
from sessile.drive.faces import run
from sessile.engine.handle import Handle
from sessile.errors import StoreUnavailable
from sessile.log.entries import MESSAGE, Segment

INTERVAL = 0.25  # seconds between two looks at a store that cannot tell by itself
_SLICE = 1.0  # seconds that a store is waited for at a time: a session that is closed meanwhile ends the watch


class _Watch:
    """Where a watch has got to: a position in the session's own log, and the version that was seen last."""

    def __init__(self, h: Handle, timeout: float | None) -> None:
        h.check_open()
        self.h = h
        self.timeout = timeout
        self.position = None if h.seen is None else h.seen.head  # None: where the session is at the first look
        self.version = -1

    async def more(self) -> list[Message] | None:
        """The messages that were added since; None when the session is closed, or nothing was said for `timeout` seconds."""
        give_up = None if self.timeout is None else time.monotonic() + self.timeout
        while not self.h.closed:
            header = await self.h.refresh()
            self.version = header.version
            if self.position is None:
                self.position = header.head
            if header.head > self.position:
                entries = await self.h.read(Segment(header.depth, self.position, header.head), MESSAGE)
                self.position = header.head
                if entries:
                    return handed_out(map(from_entry, entries))
            left = _SLICE if give_up is None else min(_SLICE, give_up - time.monotonic())
            if left <= 0:
                return None
            await self._wait(left)
        return None

    async def _wait(self, seconds: float) -> None:
        wait = self.h.commits.can.wait
        if wait is not None:
            with suppress(StoreUnavailable):  # it may answer again: the next look waits for that
                await self.h.face.call(wait, self.h.session_id, self.version, seconds)
                return
        await self.h.face.pause(min(INTERVAL, seconds))


def watch(h: Handle, timeout: float | None = None) -> Iterator[Message]:
    """The messages that are added after what this handle has seen when it is called, each within a second of its commit.

    So nothing is missed between a read of the session, this call and the first step of the loop. timeout: end once nothing
    was said for so many seconds (None: never). Closing the session ends it, too.
    """
    watched = _Watch(h, timeout)

    def messages() -> Iterator[Message]:
        while (more := run(watched.more())) is not None:
            yield from more

    return messages()


def awatch(h: Handle, timeout: float | None = None) -> AsyncIterator[Message]:
    """As `watch`, for `async for`. A handle that has seen nothing yet begins with the first step of the loop."""
    watched = _Watch(h, timeout)

    async def messages() -> AsyncIterator[Message]:
        while (more := await watched.more()) is not None:
            for message in more:
                yield message

    return messages()
