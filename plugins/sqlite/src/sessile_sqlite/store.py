"""The SQLite store: WAL, one transaction and one sync a commit. Schema in `schema.py`, search in `search.py`."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sessile import Message
from sessile.errors import InvalidInput, StoreError
from sessile.store import Entry, Header, Page, Query, SearchQuery, Seconds, checked, conflict, path_options, url_path
from sessile_sqlite.connection import Connection
from sessile_sqlite.entries import Entries, to_rows
from sessile_sqlite.headers import Headers
from sessile_sqlite.schema import MIGRATIONS, version
from sessile_sqlite.search import Index


class SQLiteSessionStore:
    """Sessions in one SQLite file, shared safely by threads and processes on one machine.

    path: made with the first commit. table_name: several stores may share a file. lock_timeout: seconds to wait for
    another process's transaction. A commit is on disk when it returns (WAL, synchronous=FULL: one sync). A file that was
    removed or replaced is opened anew by the next commit, and by reads within half a second.
    """

    @checked
    def __init__(
        self, path: str | os.PathLike[str] = "sessions.db", table_name: str = "sessions", *, lock_timeout: Seconds = 30.0
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,40}", table_name) or _is_keyword(table_name):
            raise InvalidInput(f"table_name {table_name!r} is not valid: use letters, digits and '_', but no SQL keyword")
        if os.fspath(path) == ":memory:":  # which other libraries take for a database in memory
            raise InvalidInput("':memory:' is not supported as a path: use memory:// for sessions that end with the process")
        self.path = Path(os.path.abspath(path))  # for good: the working directory may change
        self.table = table_name
        self.lock_timeout = lock_timeout
        self._headers = Headers(table_name)
        self._entries = Entries(table_name)
        self._index = Index(table_name, self._entries)
        self._connection = Connection(self.path, table_name, lock_timeout, self._headers.forget)

    @classmethod
    def from_url(cls, url: str) -> SQLiteSessionStore:
        """`sqlite:///relative.db` or `sqlite:////absolute.db`; the other parameters as `?table_name=…&lock_timeout=…`."""
        address, options = path_options(url, {"table_name": str, "lock_timeout": float})
        return cls(url_path(address, "sqlite"), **options)

    @classmethod
    def absolute_url(cls, url: str) -> str:
        """The same file, table and patience, from wherever it is opened."""
        store = cls.from_url(url)
        return f"sqlite:///{quote(str(store.path))}?table_name={store.table}&lock_timeout={store.lock_timeout}"

    @staticmethod
    def usual_url(home: Path) -> str:
        """The default URL of this store."""
        return f"sqlite:///{quote(str(home / 'sessions.db'))}"

    # -- the seven methods

    def load(self, session_id: str) -> Header | None:
        with self._connection.reading() as db:
            return self._headers.load(db, session_id) if db else None

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        rows = [row for entry in entries for row in to_rows(entry)]

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            key = self._headers.put(db, session_id, expected, changes)
            if rows:
                self._entries.add(db, key, rows)
            db.execute("COMMIT")
            self._headers.committed(session_id)

        self._connection.write(work)

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        with self._connection.reading() as db:
            return self._entries.read(db, log, start, stop, kind) if start < stop else []

    def find(self, query: Query) -> Page[Header]:
        with self._connection.reading() as db:
            return self._headers.find(db, query)

    def delete(self, session_id: str, *, expected: int | None) -> None:
        if not self._connection.exists():
            raise conflict(session_id, expected, None)

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            self._forget_empty(db, self._headers.remove(db, session_id, expected))
            db.execute("COMMIT")

        self._connection.write(work)

    def prune(self, log: str, keep: int) -> None:
        if not self._connection.exists():
            return

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(f"SELECT key FROM {self.table}_logs WHERE log = ?", (log,)).fetchone()
            if row:
                self._index.forget(db, *row, log, keep)
                self._entries.cut(db, *row, keep)
                self._forget_empty(db, *row)
            db.execute("COMMIT")

        self._connection.write(work)

    # -- more

    def read_messages(self, log: str, start: int, stop: int) -> list[Message]:
        """The messages of a range, faster than their entries."""
        with self._connection.reading() as db:
            return self._entries.read_messages(db, log, start, stop) if start < stop else []

    def logs(self) -> list[str]:
        """The ids of all logs that have entries."""
        sql = f"SELECT log FROM {self.table}_logs l WHERE {self._entries.length}"
        with self._connection.reading() as db:
            return [log for (log,) in db.execute(sql)] if db else []

    def close(self) -> None:
        self._connection.close()

    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        """(log, position) of the messages that may be what a query asks for; None where the index is behind and must stay so."""
        if not self._connection.exists():
            return []
        if not offset and self._connection.may_write():
            try:
                self._index.catch_up(self._connection.write)
            except StoreError:
                if self._connection.may_write():
                    raise
        with self._connection.reading() as db:
            if db is None or (not self._connection.may_write() and self._index.behind(db)):
                return None
            return self._index.search(db, query, limit, offset)

    def migrate(self) -> tuple[int, int]:
        """Bring the tables to the newest schema; the first use does it, too. Returns the versions (from, to)."""
        with self._connection.guard:
            before = self._connection.explained(lambda: version(self.path, self.table)) if self.path.exists() else 0
            self._connection.write(lambda db: None)
        return before, len(MIGRATIONS)

    def check(self, repair: bool = False) -> dict[str, Any]:
        """What `sessile doctor` shows: SQLite's version and its own check of the file, and the search index."""
        with self._connection.reading() as db:
            if db is None:
                return {"file": "not made yet"}
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
            behind = len(self._index.behind(db))
        if repair:
            self._connection.write(self._index.forget_words)
        if repair and behind:
            self._index.catch_up(self._connection.write)
            behind = 0
        index = f"{behind} sessions behind, which the next search mends" if behind else "complete"
        return {"server": f"SQLite {sqlite3.sqlite_version}", "file": sound, "index": index}

    def _forget_empty(self, db: sqlite3.Connection, key: int) -> None:
        """Remove a log without entries that no session has."""
        db.execute(
            f"DELETE FROM {self.table}_logs AS l WHERE key = ? AND NOT EXISTS (SELECT 1 FROM {self.table} WHERE key = l.key) "
            f"AND {self._entries.length} IS NULL",
            (key,),
        )


@functools.lru_cache(maxsize=1000)
def _is_keyword(name: str) -> bool:
    """Is this an SQL keyword, or a name that SQLite reserves?"""
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.execute(f"CREATE TABLE {name} (x)")
        except sqlite3.OperationalError:
            return True
    return False
