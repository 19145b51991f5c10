"""The connection to a SQLite file: opened with its first use, and anew where the file was removed or replaced."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from sessile.errors import Closed, CorruptStore, LockTimeout, StoreError
from sessile_sqlite import forking
from sessile_sqlite.schema import prepare

T = TypeVar("T")
_LOOKED = 0.5  # seconds that reads go without a look whether the file is still there; a commit always looks


class Connection:
    """One for all threads of a process. keys: what is remembered of the rows of this very file, by session id.

    path: made with the first write. lock_timeout: seconds to wait for another process's transaction. table: see the store.
    """

    def __init__(self, path: Path, table: str, lock_timeout: float) -> None:
        self.path = path
        self.table = table
        self.lock_timeout = lock_timeout
        self.guard = threading.RLock()
        self.db: sqlite3.Connection | None = None
        self.keys: dict[str, int] = {}
        self._file = (0, 0)  # the connection's device and inode
        self._look_again = 0.0
        self._closed = False
        forking.watch(self)

    def close(self) -> None:
        """Close it; every later use raises `Closed`."""
        with self.guard:
            self._closed = True
            self._let_go()

    def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something on the connection; where it fails, nothing of it stays."""
        db: sqlite3.Connection | None = None
        with self.guard:
            try:
                self.exists()
                db = self.db or self._open()
                return work(db)
            except BaseException as error:
                if db is not None and db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._explained(error) from error
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, or None while there is no file: reading makes none."""
        with self.guard:
            looked = self.db is not None and time.monotonic() < self._look_again
            if not looked and not self.exists():
                yield None
                return
            try:
                yield self.db or self._open()
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def exists(self) -> bool:
        """Is there a file? The connection to one that was removed or replaced is closed: it would take commits and lose them."""
        if self._closed:
            raise Closed(f"the SQLite store {str(self.path)!r} is closed: make a new SQLiteSessionStore")
        file = self._file_at_path()
        self._look_again = time.monotonic() + _LOOKED
        if self.db is not None and file != self._file:
            with self.guard:
                if self.db is not None and not self.db.in_transaction:
                    self._let_go()
        return file is not None

    def _file_at_path(self) -> tuple[int, int] | None:
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unusable(error) from error
        return status.st_dev, status.st_ino

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # closing a file that is there would let go of this process's locks on it
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))  # as private as what is said; SQLite's others follow
        except OSError as error:
            raise self._unusable(error) from error
        file = self._file_at_path()
        db = sqlite3.connect(self.path, timeout=self.lock_timeout, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(db)
        except BaseException:
            db.close()
            raise
        self.db, self._file = db, file or (0, 0)
        self._close = weakref.finalize(self, _close, db, os.getpid())  # a store that nobody closed
        return db

    def _let_go(self) -> None:
        if self.db is not None:
            self._close()
        self.db = None
        self.keys.clear()

    def _set_up(self, db: sqlite3.Connection) -> None:
        give_up = time.monotonic() + self.lock_timeout
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                return prepare(db, self.table)
            except sqlite3.OperationalError as error:
                # becoming WAL does not wait for others who do the same at this instant
                if "locked" not in str(error) or time.monotonic() > give_up:
                    raise
                time.sleep(0.01)

    def begin_anew(self) -> sqlite3.Connection | None:
        """What a forked child does: its connection and lock are its own. Returns the parent's connection."""
        inherited, self.db, self.guard = self.db, None, threading.RLock()
        return inherited

    def _unusable(self, error: OSError) -> StoreError:
        return StoreError(f"{str(self.path)!r} cannot be opened: {error.strerror or error}")

    def _explained(self, error: sqlite3.Error) -> StoreError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return LockTimeout(f"{str(self.path)!r} was locked for {self.lock_timeout} s: try again, or raise lock_timeout")
        if "not a database" in text or "malformed" in text:
            return CorruptStore(f"{str(self.path)!r} is not a SQLite database ({text}): pass another path, or restore a copy")
        return StoreError(f"{str(self.path)!r}: {text}")


def _close(db: sqlite3.Connection, process: int) -> None:
    if os.getpid() == process:
        db.close()
