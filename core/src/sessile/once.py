"""What is done once, by whoever comes first: the others wait until it is done."""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from sessile.drive import Face
from sessile.errors import LockTimeout
from sessile.locks import Lock

_PAUSE = 0.005  # seconds between two looks
_doing: contextvars.ContextVar[tuple[_Doing, ...]] = contextvars.ContextVar("what this code is part of", default=())


class _Doing:
    done = failed = False
    result: Any = None

    def __init__(self) -> None:
        self.process = os.getpid()  # in a forked child nobody goes on with it


class Once:
    """The results of what was done, by key. Tasks and threads may share it."""

    def __init__(self) -> None:
        self._doings: dict[Hashable, _Doing] = {}
        self._lock = Lock()

    def is_done(self, key: Hashable) -> bool:
        """Was it done?"""
        found = self._doings.get(key)
        return found is not None and found.done and not found.failed

    async def do(self, face: Face, key: Hashable, work: Callable[[], Awaitable[Any]], timeout: float) -> Any:
        """The result of the first `work` of a key that did not fail; None for code that runs inside of it.

        `LockTimeout` for who has waited so many seconds: it may be in a thread that the work itself waits for.
        """
        mine = _Doing()
        give_up = time.monotonic() + timeout
        while (found := self._doings.setdefault(key, mine)) is not mine:
            if found in _doing.get() or (found.done and not found.failed):
                return found.result
            if found.failed or found.process != os.getpid():
                with self._lock:
                    if self._doings.get(key) is found:
                        del self._doings[key]
            elif time.monotonic() > give_up:
                raise LockTimeout(
                    f"what the plugins do first has taken {timeout} s: does a hook wait for a thread that speaks in its session?"
                )
            else:
                await face.pause(_PAUSE)
        inside = _doing.set((*_doing.get(), mine))
        try:
            mine.result = await work()
        except BaseException:
            mine.failed = True
            raise
        finally:
            mine.done = True
            _doing.reset(inside)
        return mine.result
