"""Work behind the turns of a session, such as what is learned from a turn once its reply was given: one job after the other.

It is safe to lose: jobs are kept in this process only, so whoever spawns one catches up by itself after a crash.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401  # before ours: see the end of this file
import contextvars
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

import attrs

from sessile.drive.faces import run
from sessile.drive.locks import new_lock
from sessile.drive.once import mark, unmarked
from sessile.engine.handle import Handle

logger = logging.getLogger("sessile")
_own = mark("the work that this code is part of")
_all: weakref.WeakSet[Behind] = weakref.WeakSet()


@attrs.frozen
class _Job:
    """What to call, and in which context: that of whoever has spawned it."""

    name: str
    call: Callable[[], Any]
    context: contextvars.Context


class Behind:
    """The jobs of a handle. A worker does them: a thread of its own, or a task of the event loop."""

    def __init__(self, h: Handle) -> None:
        self._h = h
        self._lock = new_lock()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        self._process = os.getpid()  # a forked child has none of its parent's workers
        self._jobs: deque[_Job] = deque()
        self._loop: Any = None  # of the worker that is a task
        self._task: Any = None  # held, as an event loop does not
        self._working = False
        self.idle = threading.Event()
        self.idle.set()

    def add(self, function: Callable[..., Any], call: Callable[[], Any], loop: Any) -> None:
        """Do a job behind those that are there. loop: the event loop of an async face."""
        name = getattr(function, "__qualname__", None) or repr(function)
        with self._lock:
            if self._process != os.getpid():
                self._begin()
            self._jobs.append(_Job(name, call, unmarked()))
            if self._working:
                return
            self._working = True
            self.idle.clear()
        try:
            self._start(loop)
        except BaseException:  # no more threads can be started, or the loop is closed
            self._end()
            raise

    def _start(self, loop: Any) -> None:
        self._loop = loop
        if loop is None:
            threading.Thread(target=self._work, name="sessile-behind", daemon=True).start()
        else:
            loop.call_soon_threadsafe(self._begin_task, loop)

    def _begin_task(self, loop: Any) -> None:
        self._task = loop.create_task(self._work_awaiting(), context=unmarked())
        self._task.add_done_callback(lambda task: self._end() if task.cancelled() else None)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job.context.run(_own.set, self)
            try:
                job.context.run(run, self._h.face.call(job.call))
            except BaseException as error:  # also of one that ends its thread: the next job has it
                self._failed(job, error)

    async def _work_awaiting(self) -> None:
        import asyncio

        while (job := self._next()) is not None:
            job.context.run(_own.set, self)
            try:
                await asyncio.get_running_loop().create_task(self._called(job), context=job.context)
            except asyncio.CancelledError as error:
                if asyncio.current_task().cancelling():  # type: ignore[union-attr]  # this is one
                    raise
                self._failed(job, error)
            except Exception as error:
                self._failed(job, error)

    async def _called(self, job: _Job) -> None:
        await self._h.face.call(job.call)

    def _failed(self, job: _Job, error: BaseException) -> None:
        logger.error(
            "%s, behind session %r, failed: %s: %s", job.name, self._h.session_id, type(error).__name__, error, exc_info=error
        )

    def _next(self) -> _Job | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._working = False
            self.idle.set()
        return None

    def _end(self) -> None:
        """The worker is gone: its jobs are dropped."""
        with self._lock:
            dropped = len(self._jobs)
            self._jobs.clear()
            self._working = False
            self.idle.set()
        if dropped:
            logger.warning("%d jobs behind session %r were dropped, as their event loop ended", dropped, self._h.session_id)

    async def drain(self, timeout: float) -> None:
        """Wait for all jobs; those that are not begun after `timeout` seconds are dropped, which is logged."""
        if _own.get() is self:  # a job that closes its session
            return
        here = self._process == os.getpid() and not self.idle.is_set()
        if here and not await self._h.face.call(self.idle.wait, timeout):
            self._give_up(timeout)

    def _give_up(self, timeout: float) -> None:
        with self._lock:
            if not self._working:
                return
            dropped = len(self._jobs)
            self._jobs.clear()
        logger.warning(
            "session %r was closed while there was work behind it: after %s s, %d jobs were dropped, and one may still run",
            self._h.session_id,
            timeout,
            dropped,
        )

    def finish(self, now: float) -> None:
        """As `drain`, at the end of the process that began at `now`; what is to be done in an event loop is over with that."""
        left = max(0.0, now + self._h.timeout - time.monotonic())
        if self._process == os.getpid() and self._loop is None and not self.idle.wait(left):
            self._give_up(self._h.timeout)


def _finish_all() -> None:
    now = time.monotonic()
    for behind in [*_all]:
        behind.finish(now)


# At the end of the process, jobs are waited for before worker threads end: an async job of a blocking session needs some.
# What is told to Python first comes last, and `atexit` itself comes too late.
threading._register_atexit(_finish_all)  # type: ignore[attr-defined]
