"""The index: one SQLite file. `SearchIndex.search` brings it up to date (see `updating.py`), and asks it."""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from sessile.errors import SessileError, StoreError
from sessile.store import Query, SearchQuery, Store, home, to_json
from sessile_search import forking
from sessile_search.fulltext import find_rows, make_table, places_of, write_anew
from sessile_search.updating import KEY_SHIFT, bring_up_to_date, drop_unused, forget_log

_FORMAT = 1  # of the file: one of another format is made anew
_OURS = 0x5E551E5A  # the file's application_id: no other file is written
_PATIENCE = 30.0  # seconds to wait for another process that writes
_HEADER = 72  # bytes of a file of SQLite, of which the last four are its application_id
_DAMAGE = (sqlite3.Error, ValueError, TypeError, OverflowError)  # what a broken file may lead to
_UNUSABLE = (  # where it lies, or while others write: all sessions are read then
    *(sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM, sqlite3.SQLITE_IOERR),
    *(sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL),
)
_SHORT = 2.0  # … to take out what was deleted, which the next search does as well
_TABLES = (
    "logs (key INTEGER PRIMARY KEY AUTOINCREMENT, log TEXT NOT NULL UNIQUE, indexed INTEGER NOT NULL DEFAULT 0, "
    "hash TEXT NOT NULL DEFAULT '')",
    "sessions (session_id TEXT PRIMARY KEY, user_id TEXT NOT NULL, log TEXT NOT NULL, last TEXT NOT NULL)",
    "uses (log TEXT, session_id TEXT, stop INTEGER NOT NULL, PRIMARY KEY (log, session_id)) WITHOUT ROWID",
)
_INDEXES = ("sessions (user_id)", "uses (session_id)")


class SearchIndex:
    """An index of the words in a store's messages.

    path: of the file, which is made by the first search that finds a session, for its owner only (mode 0600). It can be deleted
    at any time: it is made from the store again. Threads and processes may use it at once.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(os.path.abspath(path))

    @classmethod
    def of(cls, *place: str) -> SearchIndex:
        """The index in the session home (~/.sessile/search) of a store at a place: what tells it from all others."""
        return cls(home() / "search" / f"{place[0]}-{hashlib.sha256(to_json(place).encode()).hexdigest()[:16]}.db")

    def search(self, store: Store, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        """What a store's `search` returns (see `sessile.store.Capabilities`); None where the file cannot be used.

        store: whose messages it is about; only its `find`, `load` and `read` are called.
        """
        if not self.path.exists() and not store.find(Query(user_id=query.user_id, limit=1)).items:
            return []
        try:
            try:
                return self._asked(store, query, limit, offset)
            except _DAMAGE as error:
                if isinstance(error, SessileError) or _is_unusable(error):
                    raise
                self.remove()
                return self._asked(store, query, limit, offset)
        except SessileError:  # of the store
            raise
        except (OSError, _NotOurs):
            return None
        except sqlite3.Error as error:
            if _is_unusable(error):
                return None
            raise StoreError(f"the search index {self.path} cannot be used: {error}") from error

    def _asked(self, store: Store, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]]:
        with self._opened() as db:
            if not offset:
                bring_up_to_date(db, store, query)
            return _places(db, query, limit, offset)

    def forget(self, log: str, keep: int) -> None:
        """Take out the words of a log from a position on, whose entries are gone. Where that fails, the next search does it."""
        if not self.path.exists():
            return
        with suppress(*_DAMAGE, OSError, _NotOurs), self._opened(_SHORT) as db:
            forget_log(db, log, keep)

    def remove(self) -> None:
        """Delete the file; the next search makes another."""
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                os.unlink(f"{self.path}{suffix}")

    def check(self, store: Store, repair: bool = False) -> str:
        """What `sessile doctor` shows of it. repair: write it anew, without the words of what is not in the store any more."""
        if not os.path.lexists(self.path):
            return "not made yet"
        try:
            with self._opened() as db:
                if repair:
                    bring_up_to_date(db, store, SearchQuery(terms=()))
                    drop_unused(db)
                    write_anew(db, "said")
                (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
                (count,) = db.execute("SELECT count(*) FROM logs WHERE indexed > 0").fetchone()
                return f"{sound}, logs: {count}"
        except _NotOurs:
            return f"cannot be used: {self.path} is something else, which searches leave alone"
        except (*_DAMAGE, OSError) as error:
            return f"cannot be used ({error}): delete {self.path}, searches make it anew"

    @contextmanager
    def _opened(self, patience: float = _PATIENCE) -> Iterator[sqlite3.Connection]:
        """A connection of its own, while no other thread has one, and no process is forked."""
        with forking.alone(str(self.path), patience):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self.path.is_symlink():
                raise _NotOurs
            with suppress(FileExistsError):  # closing one that is there would let go of this process's locks on it
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL, 0o600))
            with closing(sqlite3.connect(self.path, timeout=patience, isolation_level=None)) as db:
                _prepare(db, self.path)
                yield db


class _NotOurs(Exception):
    """The file is something else: it is not written, and not removed."""


def _is_unusable(error: Exception) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _UNUSABLE


def _prepare(db: sqlite3.Connection, path: Path) -> None:
    try:
        (whose,) = db.execute("PRAGMA application_id").fetchone()
        (anything,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.DatabaseError as error:
        if _is_unusable(error) or _says_that_it_is_ours(path):
            raise
        raise _NotOurs from error
    if whose != _OURS and (whose or anything):
        raise _NotOurs
    db.execute("PRAGMA secure_delete = ON")
    db.execute("PRAGMA synchronous = NORMAL")  # what a power failure takes is indexed again
    if db.execute("PRAGMA user_version").fetchone() != (_FORMAT,):
        _make(db)
        db.execute("PRAGMA journal_mode = WAL")


def _says_that_it_is_ours(path: Path) -> bool:
    """Has a damaged file the beginning of an index? Only for one that SQLite cannot read: closing others would lose locks."""
    with open(path, "rb") as file:
        return int.from_bytes(file.read(_HEADER)[_HEADER - 4 :], "big") == _OURS


def _make(db: sqlite3.Connection) -> None:
    db.execute("BEGIN IMMEDIATE")
    if db.execute("PRAGMA user_version").fetchone() != (_FORMAT,):  # else another process was first
        for table in _TABLES:
            db.execute(f"DROP TABLE IF EXISTS {table.partition(' ')[0]}")
            db.execute(f"CREATE TABLE {table}")
        for index in _INDEXES:
            db.execute(f"CREATE INDEX {index.partition(' ')[0]}_index ON {index}")
        db.execute("DROP TABLE IF EXISTS said")
        make_table(db, "said", deletes=True)
        db.execute(f"PRAGMA application_id = {_OURS}")
        db.execute(f"PRAGMA user_version = {_FORMAT}")
    db.execute("COMMIT")


def _places(db: sqlite3.Connection, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]]:
    """(log, position) of what may be asked for, best first."""
    where: dict[str, list[Any]] = {}
    if query.user_id is not None:
        log = "SELECT u.log FROM sessions s JOIN uses u USING (session_id) WHERE s.user_id = ?"
        where[f"rowid >> {KEY_SHIFT} IN (SELECT key FROM logs WHERE log IN ({log}))"] = [query.user_id]
    if query.logs is not None:
        log = "SELECT value FROM json_each(?)"
        where[f"rowid >> {KEY_SHIFT} IN (SELECT key FROM logs WHERE log IN ({log}))"] = [to_json(list(query.logs))]
    return places_of(db, "logs", find_rows(db, "said", query, where, limit, offset), KEY_SHIFT)
