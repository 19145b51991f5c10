"""Run something once for each key: the first caller does it, the others wait for the result."""

from __future__ import annotations

import contextvars
import os
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from sessile.drive.faces import Face
from sessile.drive.locks import new_lock
from sessile.errors import LockTimeout

_MARKS: list[contextvars.ContextVar[Any]] = []


def mark(name: str) -> contextvars.ContextVar[Any]:
    """A context variable that says what the code that runs is part of; None by default."""
    made: contextvars.ContextVar[Any] = contextvars.ContextVar(name, default=None)
    _MARKS.append(made)
    return made


def unmarked() -> contextvars.Context:
    """A copy of the context, for code that is part of nothing that this code is part of."""
    context = contextvars.copy_context()
    for var in _MARKS:
        context.run(var.set, None)
    return context


_PAUSE = 0.005  # seconds between two looks
_doing = mark("what this code does once")


class _Doing:
    done = worked = False
    result: Any = None

    def __init__(self) -> None:
        self.process = os.getpid()  # in a forked child nobody goes on with it


class Once:
    """The results of what was done, by key. Tasks and threads may share it."""

    def __init__(self) -> None:
        self._doings: dict[Hashable, _Doing] = {}
        self._lock = new_lock()

    def is_done(self, key: Hashable) -> bool:
        """Was it done?"""
        found = self._doings.get(key)
        return found is not None and found.worked

    async def do(self, face: Face, key: Hashable, work: Callable[[], Awaitable[Any]], timeout: float) -> Any:
        """The result of the first `work` of a key that did not fail; None for code that runs inside of it.

        Raises `LockTimeout` after `timeout` seconds: the caller may be in a thread that the work itself waits for.
        """
        mine = _Doing()
        inside = None
        give_up = time.monotonic() + timeout
        try:  # around all of it: where a signal cuts this short, it counts as failed
            while (found := self._doings.setdefault(key, mine)) is not mine:
                if found.worked:
                    return found.result
                if found.done or found.process != os.getpid():
                    self._forget(key, found)
                elif found in (_doing.get() or ()):
                    return None
                elif time.monotonic() > give_up:
                    raise LockTimeout(
                        f"waited {timeout} s for plugins: does a hook wait for a thread that speaks in the session?"
                    )
                else:
                    await face.pause(_PAUSE)
            inside = _doing.set((*(_doing.get() or ()), mine))
            mine.result = await work()
            mine.worked = True
            return mine.result
        finally:
            mine.done = True
            if inside is not None:
                _doing.reset(inside)

    def _forget(self, key: Hashable, failed: _Doing) -> None:
        with self._lock:
            if self._doings.get(key) is failed:
                del self._doings[key]
