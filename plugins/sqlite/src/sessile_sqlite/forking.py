"""Forking a process whose threads use SQLite.

SQLite remembers, for the whole process, which locks it holds on a file. A child that is forked in the middle of a transaction
takes these for its own, and waits for them for ever. So a fork waits until no connection is in a transaction. The child leaves
its parent's connections alone: closing them would let go of what the parent holds.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessile_sqlite.connection import Connection

_lock = threading.Lock()  # of what is watched; held during a fork, so that it is free in the child
_watched: weakref.WeakSet[Connection] = weakref.WeakSet()
_held: list[Connection] = []
_inherited: list[sqlite3.Connection | None] = []  # never collected


def watch(connection: Connection) -> None:
    """Let forks wait for a connection."""
    with _lock:
        _watched.add(connection)


def _hold() -> None:
    _lock.acquire()
    for connection in list(_watched):
        connection.guard.acquire()
        _held.append(connection)


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
