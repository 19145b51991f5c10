"""What a layer of middleware has inside, as tasks of an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

Step = Callable[..., Coroutine[Any, Any, Any]]


class Inside:
    """The inside of a layer, on the running event loop. It ends with its layer, and cannot be entered afterwards."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._loop = asyncio.get_running_loop()
        self._tasks: set[Any] = set()
        self._over = False

    async def enter(self, *args: Any) -> Any:
        """`call_next` of an async layer."""
        if self._over:
            raise asyncio.CancelledError("the turn went on without this layer")
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            return await self._step(*args)
        finally:
            self._tasks.discard(task)

    def enter_from_thread(self, *args: Any) -> Any:
        """`call_next` of a blocking layer. Raises `asyncio.CancelledError` in it when the turn is cancelled."""
        if self._over:  # the loop may be closed by now
            raise asyncio.CancelledError("the turn went on without this layer")
        try:
            return asyncio.run_coroutine_threadsafe(self.enter(*args), self._loop).result()
        except concurrent.futures.CancelledError as error:  # an Exception, which a layer that tries again would catch
            raise asyncio.CancelledError("the turn was cancelled") from error

    async def end(self) -> None:
        """Cancel what is still running inside and wait for its end."""
        self._over = True
        for task in self._tasks:
            task.cancel()
        await finished(list(self._tasks))


async def finished(tasks: Iterable[Any]) -> None:
    """Wait for tasks to end. A cancellation meanwhile is raised once they have."""
    cancelled: BaseException | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
