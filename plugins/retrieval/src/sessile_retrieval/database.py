"""One SQLite file that an index shares with whoever keeps what is indexed: both are changed in one transaction."""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sessile.errors import Closed, StoreError

_OURS = 0x5E5514DB  # the file's application_id: a file of somebody else's is not written
_PATIENCE = 30.0  # seconds to wait for another process that writes


_all: weakref.WeakSet[Database] = weakref.WeakSet()
_held: list[threading.RLock] = []  # for a fork


class Database:
    """A file of SQLite, for its owner only (mode 0600), that threads and processes may use at once.

    path: of the file, made when first used; None for one in memory. What is written is durable once `writing` ends.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else Path(os.path.abspath(path))
        self.lock = threading.RLock()
        _all.add(self)
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._abandoned: list[sqlite3.Connection] = []  # of the parent: closing one would let go of the parent's locks
        self._closed = False
        self._depth = 0  # of `writing` in `writing`

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, while no other thread uses it."""
        with self.lock:
            try:
                yield self._open()
            except sqlite3.Error as error:
                raise StoreError(f"{self.path or 'a database in memory'} cannot be used: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """As `reading`, in a transaction: all that is written within is stored, or nothing of it. It may be entered again."""
        with self.reading() as db:
            if self._depth:
                yield db
                return
            db.execute("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise
            finally:
                self._depth -= 1

    def close(self) -> None:
        """Close it; what is in memory is gone."""
        with self.lock:
            self._closed = True
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise Closed(f"{self.path or 'a database in memory'} was closed")
        if self._connection is not None and self._process != os.getpid() and self.path is not None:
            self._abandoned.append(self._connection)
            self._connection, self._depth = None, 0
        if self._connection is None:
            self._connection, self._process = self._connected(), os.getpid()
        return self._connection

    def _connected(self) -> sqlite3.Connection:
        if self.path is None:
            return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # closing one that is there would let go of this process's locks on it
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise StoreError(f"{self.path} cannot be made: {error}") from error
        db = sqlite3.connect(self.path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        try:
            self._claim(db)
        except BaseException:
            db.close()
            raise
        return db

    def _claim(self, db: sqlite3.Connection) -> None:
        (whose,) = db.execute("PRAGMA application_id").fetchone()
        (anything,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if whose != _OURS and (whose or anything):
            raise StoreError(f"{self.path} is a database of something else: name another file")
        if whose != _OURS:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute(f"PRAGMA application_id = {_OURS}")
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA secure_delete = ON")


def _hold_all() -> None:
    """Wait for all that use a database: a child has no thread that could let go of SQLite's own locks."""
    _held.extend(database.lock for database in list(_all) if database.lock.acquire(timeout=_PATIENCE))


def _let_go() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_hold_all, after_in_parent=_let_go, after_in_child=_let_go)
