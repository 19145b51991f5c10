"""Work behind the turns of a session, such as what is learned from a turn once its reply was given: one job after the other.

It is safe to lose: jobs are kept in this process only, so whoever spawns one catches up by itself after a crash.
"""

from __future__ import annotations

import atexit
import contextvars
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

from sessile.drive.faces import run
from sessile.drive.locks import new_lock
from sessile.engine.handle import Handle

logger = logging.getLogger("sessile")
_Job = Callable[[], Any]
_own: contextvars.ContextVar[Behind] = contextvars.ContextVar("the work that this code is part of")
_all: weakref.WeakSet[Behind] = weakref.WeakSet()


class Behind:
    """The jobs of a handle. A worker does them: a thread of its own, or a task of the event loop."""

    def __init__(self, h: Handle) -> None:
        self._h = h
        self._lock = new_lock()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._process = os.getpid()  # a forked child has none of its parent's workers
        self._jobs: deque[tuple[Callable[..., Any], _Job]] = deque()
        self._working = False
        self._task: Any = None  # held, as an event loop does not
        self.idle = threading.Event()
        self.idle.set()

    def add(self, function: Callable[..., Any], job: _Job, loop: Any) -> None:
        """Do a job behind those that are there. loop: the event loop of an async face."""
        with self._lock:
            if self._process != os.getpid():
                self._begin()
            self._jobs.append((function, job))
            if self._working:
                return
            self._working = True
            self.idle.clear()
        try:
            self._start(loop)
        except RuntimeError:  # no more threads can be started
            self.drop()
            raise

    def _start(self, loop: Any) -> None:
        context = contextvars.copy_context()
        if loop is None:
            threading.Thread(target=context.run, args=(run, self._work()), name="sessile-behind", daemon=True).start()
        else:
            loop.call_soon_threadsafe(self._begin_task, loop, context)

    def _begin_task(self, loop: Any, context: contextvars.Context) -> None:
        self._task = loop.create_task(self._work(), context=context)
        self._task.add_done_callback(lambda _: self.drop())  # of a cancelled one

    async def _work(self) -> None:
        _own.set(self)
        while (job := self._next()) is not None:
            function, call = job
            try:
                await self._h.face.call(call)
            except Exception as error:
                name = getattr(function, "__qualname__", repr(function))
                logger.error("%s, behind session %r, failed: %s", name, self._h.session_id, error, exc_info=error)

    def _next(self) -> tuple[Callable[..., Any], _Job] | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._working = False
            self.idle.set()
        return None

    def drop(self) -> int:
        """Forget the jobs that were not begun. Returns how many."""
        with self._lock:
            dropped = len(self._jobs)
            self._jobs.clear()
            if self._task is not None and self._task.done():
                self._working = False
                self.idle.set()
        return dropped

    async def drain(self, timeout: float) -> None:
        """Wait for all jobs; those that are not begun after `timeout` seconds are dropped, which is logged."""
        if _own.get(None) is self:  # a job that closes its session
            return
        if self._process == os.getpid() and not self.idle.is_set():
            await self._h.face.call(self.idle.wait, timeout)
            self._give_up(timeout)

    def _give_up(self, timeout: float) -> None:
        if self.idle.is_set():
            return
        logger.warning(
            "session %r was closed while there was work behind it: after %s s, %d jobs were dropped, and one may still run",
            self._h.session_id,
            timeout,
            self.drop(),
        )

    def finish(self, give_up: float) -> None:
        """As `drain`, at the end of the process."""
        if self._process == os.getpid() and self._task is None and not self.idle.wait(max(0.0, give_up - time.monotonic())):
            self._give_up(self._h.timeout)

    @property
    def timeout(self) -> float:
        """Seconds that the end of the process waits for it."""
        return self._h.timeout


@atexit.register
def _finish_all() -> None:
    now = time.monotonic()
    for behind in [*_all]:
        behind.finish(now + behind.timeout)
