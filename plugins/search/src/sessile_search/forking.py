"""Forking a process whose threads search: SQLite's own locks must not be held by a thread that the child does not have."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_PATIENCE = 10.0  # seconds that a fork waits for a search
_lock = threading.RLock()
_held = False  # for a fork


@contextmanager
def alone() -> Iterator[None]:
    """While no other thread of this process is in here, and none forks it."""
    _watch()
    with _lock:
        yield


@functools.cache
def _watch() -> None:
    """Let forks wait, from the first search on: what a store does at a fork has to come behind this, as it does in a search."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_begin_anew)


def _hold() -> None:
    global _held
    _held = _lock.acquire(timeout=_PATIENCE)


def _let_go() -> None:
    if _held:
        _lock.release()


def _begin_anew() -> None:
    global _lock
    _lock = threading.RLock()
