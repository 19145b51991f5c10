"""The SQLite store: WAL, one transaction and one sync a commit. Schema in `schema.py`, search in `search.py`."""

from __future__ import annotations

import functools
import os
import re
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from itertools import islice
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sessile.errors import CorruptStore, InvalidInput, StoreError
from sessile.store import (
    COLUMNS,
    Entry,
    Header,
    Page,
    Query,
    Seconds,
    checked,
    conflict,
    from_json,
    from_row,
    missing,
    page_of_rows,
    path_options,
    to_json,
    url_path,
)
from sessile_sqlite.connection import Connection
from sessile_sqlite.rows import conditions, to_details
from sessile_sqlite.schema import MIGRATIONS, version
from sessile_sqlite.search import catch_up, forget, forget_words, look_through, search


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
        self._connection = Connection(self.path, table_name, lock_timeout)
        self._updates: dict[tuple[str, ...], str] = {}  # SQL by the fields it sets
        columns = ", ".join(f"s.{column}" for column in COLUMNS.values())
        self._select = f"SELECT {columns}, d.body FROM {table_name} s LEFT JOIN {table_name}_details d USING (key)"
        self._insert_entry = f"INSERT INTO {table_name}_entries VALUES (?, ?, ?, ?)"

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
            row = db and db.execute(f"{self._select} WHERE s.session_id = ?", (session_id,)).fetchone()
            return from_row(row) if row else None

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        rows = [(entry.position, entry.kind, entry.json) for entry in entries]

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            key = self._update(db, session_id, expected, changes) if expected else self._insert(db, session_id, changes)
            for row in rows:
                db.execute(self._insert_entry, (key, *row))
            db.execute("COMMIT")

        self._connection.write(work)

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        if start >= stop:
            return []
        sql = (
            f"SELECT position, body FROM {self.table}_entries WHERE log = (SELECT key FROM {self.table}_logs WHERE log = ?) "
            f"AND position >= ? AND position < ?{' AND (kind = ? OR position = ?)' if kind else ''} ORDER BY position"
        )
        with self._connection.reading() as db:
            rows = db.execute(sql, (log, start, stop, *((kind, stop - 1) if kind else ()))).fetchall() if db else []
        if not rows or rows[-1][0] != stop - 1 or (kind is None and len(rows) < stop - start):
            raise missing(log, start, stop)
        entries = Entry.all_from_json([body for _, body in rows])
        if kind is not None and entries[-1].kind != kind:  # read only to see that the range is whole
            entries.pop()
        return entries

    def find(self, query: Query) -> Page[Header]:
        where, values = conditions(query)
        sql = f"{self._select} WHERE {' AND '.join(where)} ORDER BY s.updated_at DESC, s.session_id DESC LIMIT ?"
        with self._connection.reading() as db:
            rows = db.execute(sql, (*values, query.limit + 1)).fetchall() if db else []
        return page_of_rows(rows, query.limit, from_row)

    def delete(self, session_id: str, *, expected: int | None) -> None:
        if not self._connection.exists():
            raise conflict(session_id, expected, None)

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            key = self._to_delete(db, session_id, expected)
            db.execute(f"DELETE FROM {self.table} WHERE key = ?", (key,))
            db.execute(f"DELETE FROM {self.table}_details WHERE key = ?", (key,))
            self._forget_empty(db, key)
            db.execute("COMMIT")
            self._connection.keys.pop(session_id, None)

        self._connection.write(work)

    def prune(self, log: str, keep: int) -> None:
        if not self._connection.exists():
            return

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(f"SELECT key FROM {self.table}_logs WHERE log = ?", (log,)).fetchone()
            if row:
                forget(db, self.table, *row, keep)
                db.execute(f"DELETE FROM {self.table}_entries WHERE log = ? AND position >= ?", (*row, keep))
                self._forget_empty(db, *row)
            db.execute("COMMIT")

        self._connection.write(work)

    def logs(self) -> list[str]:
        """The ids of all logs that have entries."""
        sql = f"SELECT log FROM {self.table}_logs l WHERE EXISTS (SELECT 1 FROM {self.table}_entries e WHERE e.log = l.key)"
        with self._connection.reading() as db:
            return [log for (log,) in db.execute(sql)] if db else []

    def close(self) -> None:
        self._connection.close()

    def search(self, text: str, *, user_id: str | None = None, limit: int = 20, offset: int = 0) -> list[tuple[str, Entry]]:
        """(log id, entry) of the messages with all words of `text`, best first; brings the index up to date first."""
        if not self._connection.exists():
            return []
        try:
            if self._connection.may_write():
                catch_up(self._connection.write, self.table)
                return self._connection.write(lambda db: search(db, self.table, text, user_id, limit, offset))
        except StoreError:
            if self._connection.may_write():
                raise
        with self._connection.reading() as db:
            hits = search(db, self.table, text, user_id, limit + offset, 0) if db else []
            missing = limit + offset - len(hits)
            behind = islice(look_through(db, self.table, text, user_id), max(0, missing)) if db else ()
            return [*hits, *behind][offset : offset + limit]

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
            sql = f"SELECT count(*) FROM {self.table} JOIN {self.table}_logs USING (key) WHERE indexed < head"
            (behind,) = db.execute(sql).fetchone()
        if repair:
            self._connection.write(lambda db: forget_words(db, self.table))
        if repair and behind:
            self.search("")
            behind = 0
        index = f"{behind} sessions behind, which the next search mends" if behind else "complete"
        return {"server": f"SQLite {sqlite3.sqlite_version}", "file": sound, "index": index}

    # -- writing

    def _update(self, db: sqlite3.Connection, session_id: str, expected: int, changes: Mapping[str, Any]) -> int:
        names = tuple(changes)
        sql = self._updates.get(names) or self._updates.setdefault(names, self._update_sql(names))
        values = [value for name, value in changes.items() if name in COLUMNS]
        known = self._connection.keys.get(session_id)
        key = known or self._find_key(db, session_id)
        done = db.execute(sql, (*values, key, session_id, expected))
        if done.rowcount != 1 and known:  # it may be of a session that was deleted and begun anew
            key = self._find_key(db, session_id)
            done = db.execute(sql, (*values, key, session_id, expected))
        if done.rowcount != 1:
            self._connection.keys.pop(session_id, None)
            self._lost(db, session_id, expected)
        if len(values) < len(changes):
            self._update_details(db, key, changes)
        return key

    def _update_sql(self, names: Sequence[str]) -> str:
        sets = ", ".join(f"{COLUMNS[name]} = ?" for name in names if name in COLUMNS)
        # the session id too: after a delete its key may be given to another
        return f"UPDATE {self.table} SET {sets} WHERE key = ? AND session_id = ? AND version = ?"

    def _update_details(self, db: sqlite3.Connection, key: int, changes: Mapping[str, Any]) -> None:
        (body,) = db.execute(f"SELECT body FROM {self.table}_details WHERE key = ?", (key,)).fetchone()
        details = to_details({**from_json(body), **changes})
        db.execute(f"UPDATE {self.table}_details SET body = ? WHERE key = ?", (to_json(details), key))

    def _insert(self, db: sqlite3.Connection, session_id: str, changes: Mapping[str, Any]) -> int:
        names = [name for name in changes if name in COLUMNS]
        if db.execute(f"SELECT 1 FROM {self.table} WHERE session_id = ?", (session_id,)).fetchone():
            self._lost(db, session_id, 0)
        log = db.execute(f"INSERT INTO {self.table}_logs (log, user_id) VALUES (?, ?)", (changes["log"], changes["user_id"]))
        key = self._know_key(session_id, int(log.lastrowid or 0))
        sql = f"INSERT INTO {self.table} (key, {', '.join(COLUMNS[n] for n in names)}) VALUES (?{', ?' * len(names)})"
        db.execute(sql, [key, *(changes[name] for name in names)])
        db.execute(f"INSERT INTO {self.table}_details VALUES (?, ?)", (key, to_json(to_details(changes))))
        return key

    def _to_delete(self, db: sqlite3.Connection, session_id: str, expected: int | None) -> int:
        """The key of the session to delete; `Conflict` where it is not at that version, or (None) can be read."""
        sql = f"SELECT key, version FROM {self.table} WHERE session_id = ?"
        key, version = db.execute(sql, (session_id,)).fetchone() or (0, 0)
        if expected is None:
            with suppress(CorruptStore):
                self._lost(db, session_id, expected)
        elif not version or version != expected:
            self._lost(db, session_id, expected)
        return int(key)

    def _forget_empty(self, db: sqlite3.Connection, key: int) -> None:
        """Remove a log without entries that no session has."""
        sql = (
            f"DELETE FROM {self.table}_logs WHERE key = ? AND NOT EXISTS (SELECT 1 FROM {self.table} WHERE key = ?) "
            f"AND NOT EXISTS (SELECT 1 FROM {self.table}_entries WHERE log = ?)"
        )
        db.execute(sql, (key, key, key))

    def _lost(self, db: sqlite3.Connection, session_id: str, expected: int | None) -> None:
        row = db.execute(f"{self._select} WHERE s.session_id = ?", (session_id,)).fetchone()
        raise conflict(session_id, expected, from_row(row) if row else None)

    def _find_key(self, db: sqlite3.Connection, session_id: str) -> int:
        row = db.execute(f"SELECT key FROM {self.table} WHERE session_id = ?", (session_id,)).fetchone()
        return self._know_key(session_id, int(row[0])) if row else -1

    def _know_key(self, session_id: str, key: int) -> int:
        self._connection.keys[session_id] = key
        return key


@functools.lru_cache(maxsize=1000)
def _is_keyword(name: str) -> bool:
    """Is this an SQL keyword, or a name that SQLite reserves?"""
    with closing(sqlite3.connect(":memory:")) as db:
        try:
            db.execute(f"CREATE TABLE {name} (x)")
        except sqlite3.OperationalError:
            return True
    return False
