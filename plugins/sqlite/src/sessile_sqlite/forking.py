"""Forking a process whose threads use SQLite.

SQLite remembers, for the whole process, which locks it holds on a file. A child that is forked in the middle of a transaction
takes these for its own, and waits for them for ever. So a fork waits until no store is in a transaction. The child leaves its
parent's connections alone: closing them would let go of what the parent holds.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessile_sqlite.store import SQLiteSessionStore

_lock = threading.Lock()  # of the stores that are known; held during a fork, so that it is free in the child
_stores: weakref.WeakSet[SQLiteSessionStore] = weakref.WeakSet()
_held: list[SQLiteSessionStore] = []
_inherited: list[sqlite3.Connection | None] = []  # never collected


def watch(store: SQLiteSessionStore) -> None:
    """Let forks wait for a store."""
    with _lock:
        _stores.add(store)


def _hold() -> None:
    _lock.acquire()
    for store in list(_stores):
        store.guard.acquire()
        _held.append(store)


def _let_go() -> None:
    while _held:
        _held.pop().guard.release()
    _lock.release()


def _begin_anew() -> None:
    while _held:
        _inherited.append(_held.pop().begin_anew())
    _lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold, after_in_parent=_let_go, after_in_child=_begin_anew)
