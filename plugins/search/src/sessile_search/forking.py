"""One thread at a time has an index, and a fork waits: a child has no thread that could let go of SQLite's own locks."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 10.0  # seconds that a fork waits for searches
_locks: dict[str, threading.RLock] = {}  # by the path of the index
_held: list[threading.RLock] = []  # for a fork


@contextmanager
def alone(path: str, patience: float) -> Iterator[None]:
    """While no other thread of this process has the same index, and none forks it. patience: seconds before TimeoutError."""
    _watch()
    lock = _locks.setdefault(path, threading.RLock())
    if not lock.acquire(timeout=patience):
        raise TimeoutError(f"another thread uses {path}")
    try:
        yield
    finally:
        lock.release()


@functools.cache
def _watch() -> None:
    """Let forks wait, from the first search on: what a store does at a fork has to come behind this, as it does in a search."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_begin_anew)


def _hold() -> None:
    give_up = time.monotonic() + _PATIENCE
    _held.extend(lock for lock in list(_locks.values()) if lock.acquire(timeout=max(0.0, give_up - time.monotonic())))


def _let_go() -> None:
    while _held:
        _held.pop().release()


def _begin_anew() -> None:
    _held.clear()
    _locks.clear()
