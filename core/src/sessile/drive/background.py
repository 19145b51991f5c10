"""The background event loop: where async code runs that a blocking session waits for, and clients that must stay in one loop.

It is a thread of the process, begun when it is first needed. A forked child has no such thread; it begins one of its own.
"""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any, TypeVar

from sessile.errors import SessileError

T = TypeVar("T")
_LOOK = 1.0  # seconds after which a thread that waits looks for signals: one that came just before it waited wakes nobody


class _Background:
    """An event loop in a thread of its own, begun when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: Any = None

    @property
    def loop(self) -> Any:
        import asyncio

        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="sessile-background", daemon=True).start()
            return self._loop


_background = _Background()
_parents: list[_Background] = []  # of the processes this one was forked from: kept, as collecting them would touch their files


def _after_fork() -> None:
    global _background
    _parents.append(_background)
    _background = _Background()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def running_loop() -> Any:
    """The event loop that runs in this thread, or None."""
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def background(awaitable: Awaitable[T], loop: Any = None) -> T:
    """Wait for something on the background event loop (or on `loop`, while that runs) and return its result."""
    import asyncio
    import concurrent.futures

    loop = loop if loop is not None and loop.is_running() else _background.loop
    if running_loop() is loop:
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise SessileError(
            "async code used a blocking session that has to await something (an async store, model or middleware), which would "
            "wait for itself: use an AsyncSession there (hooks and middleware that are `async def` are given one)"
        )
    begun: concurrent.futures.Future[asyncio.Task[T]] = concurrent.futures.Future()

    async def awaited() -> T:
        begun.set_result(asyncio.current_task())  # type: ignore[arg-type]  # there is one
        return await awaitable

    future = asyncio.run_coroutine_threadsafe(awaited(), loop)
    try:
        while not future.done():
            with suppress(TimeoutError):
                return future.result(_LOOK)
        return future.result()
    except BaseException:
        if not future.done():  # this thread was interrupted: what it waits for ends first
            loop.call_soon_threadsafe(begun.result().cancel)
            concurrent.futures.wait([future])
        raise


async def on_background(awaitable: Awaitable[T]) -> T:
    """Await something on the background event loop, from whichever loop: for clients that must stay in one."""
    import asyncio

    loop = _background.loop
    if asyncio.get_running_loop() is loop:
        return await awaitable

    async def awaited() -> T:
        return await awaitable

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaited(), loop))
