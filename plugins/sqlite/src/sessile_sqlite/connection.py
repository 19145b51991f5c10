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
from urllib.parse import quote

from sessile.errors import Closed, CorruptStore, LockTimeout, StoreError
from sessile_sqlite import forking
from sessile_sqlite.schema import check_schema, prepare

_FAULTS = (sqlite3.Error, UnicodeDecodeError)  # what sqlite3 raises; the last for damaged texts, in a column or in its own words
T = TypeVar("T")
_LOOKED = 0.5  # seconds that reads go without a look whether the file is still there; a commit always looks


class Connection:
    """One for all threads of a process. renewed: called when there is another one.

    path: made with the first write. lock_timeout: seconds to wait for another process's transaction. table: see the store.
    """

    def __init__(self, path: Path, table: str, lock_timeout: float, renewed: Callable[[], None]) -> None:
        self.path = path
        self.table = table
        self.lock_timeout = lock_timeout
        self.guard = threading.RLock()
        self.db: sqlite3.Connection | None = None
        self._renewed = renewed
        self._file: tuple[object, ...] = ()  # what the connection is to (see `_file_at_path`)
        self._read_only = False  # may it not be written?
        self._frozen = False  # is it opened as immutable?
        self._wal = path.with_name(path.name + "-wal")
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
                if isinstance(error, _FAULTS):
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
            except _FAULTS as error:
                raise self._explained(error) from error

    def may_write(self) -> bool:
        """May the file be written, as far as that is known?"""
        with self.reading():
            return not self._read_only

    def explained(self, work: Callable[[], T]) -> T:
        """What something returns; what SQLite raises in it as `StoreError`."""
        try:
            return work()
        except _FAULTS as error:
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

    def _file_at_path(self) -> tuple[object, ...] | None:
        """The identity of the file at the path, with its size and time if it is opened as immutable; None if there is none."""
        try:
            status = os.stat(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unusable(error) from error
        now = (status.st_mtime_ns, status.st_size, self._wal.exists()) if self._frozen else ()
        return status.st_dev, status.st_ino, *now

    def _open(self) -> sqlite3.Connection:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with suppress(FileExistsError):  # closing a file that is there would let go of this process's locks on it
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))  # as private as what is said; SQLite's others follow
        except OSError as error:
            raise self._unusable(error) from error
        db = self._opened()
        self._renewed()
        self.db, self._file = db, self._file_at_path() or ()
        self._close = weakref.finalize(self, _close, db, os.getpid())  # a store that nobody closed
        return db

    def _opened(self) -> sqlite3.Connection:
        self._frozen = self._read_only = False
        try:
            return self._connected(str(self.path), self._set_up)
        except sqlite3.OperationalError as error:
            if not any(text in str(error) for text in ("readonly", "unable to open")):
                raise
            self._read_only = True
            address = f"file:{quote(str(self.path))}?mode=ro"
            try:
                return self._connected(address, self._look_at)
            except sqlite3.OperationalError:
                # reading takes a file beside it, which may not be made: so nobody writes to it, as far as that can be seen
                if self._wal.exists():
                    raise error from None
                self._frozen = True
                return self._connected(f"{address}&immutable=1", self._look_at)

    def _connected(self, address: str, set_up: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        db = sqlite3.connect(
            address,
            timeout=self.lock_timeout,
            isolation_level=None,
            check_same_thread=False,
            uri=address.startswith("file:"),
        )
        try:
            set_up(db)
        except BaseException:
            db.close()
            raise
        return db

    def _look_at(self, db: sqlite3.Connection) -> None:
        check_schema(db, self.table)

    def _let_go(self) -> None:
        if self.db is not None:
            self._close()
        self.db = None

    def _set_up(self, db: sqlite3.Connection) -> None:
        give_up = time.monotonic() + self.lock_timeout
        while True:
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
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

    def _explained(self, error: Exception) -> StoreError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return LockTimeout(f"{str(self.path)!r} was locked for {self.lock_timeout} s: try again, or raise lock_timeout")
        if isinstance(error, UnicodeDecodeError) or "decode" in text or "not a database" in text or "malformed" in text:
            return CorruptStore(f"{str(self.path)!r} is not a SQLite database ({text}): pass another path, or restore a copy")
        if "readonly" in text:
            self._read_only = True
            return StoreError(f"{str(self.path)!r} is read-only: nothing was written. Give this process write permission")
        return StoreError(f"{str(self.path)!r}: {text}")


def _close(db: sqlite3.Connection, process: int) -> None:
    if os.getpid() == process:
        db.close()
