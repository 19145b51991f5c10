"""The SQLite store: WAL, one transaction and one sync a commit. Schema in `schema.py`, search in `search.py`."""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sessile.addresses import url_path
from sessile.encoding import from_json, to_json
from sessile.errors import Closed, Conflict, CorruptStore, InvalidInput, LockTimeout, StoreError
from sessile.ids import RESERVED
from sessile.log import Entry, Header
from sessile.store import Page, Query
from sessile_sqlite.schema import MIGRATIONS, prepare, version
from sessile_sqlite.search import search

# Header fields with a column of their own, and the column's name; the others are in the details.
_COLUMNS = {
    "session_id": "session_id",
    "user_id": "user_id",
    "parent": "parent",
    "root": "root",
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "version": "version",
    "head": "head",
    "count": "count",
    "base": "base",
    "hash": "hash",
    "commit": "commit_id",
}
T = TypeVar("T")
_EMPTY = ("title", "lineage", "last_snapshot", "mark", "automatic", "lease", "renamed", "state", "metadata")
_UPDATED_AT = list(_COLUMNS).index("updated_at")
_KEYS = 10_000  # session keys kept in memory


class SQLiteSessionStore:
    """Sessions in one SQLite file, shared safely by threads and processes on one machine.

    path: made with the first commit. table_name: several stores may share a file. lock_timeout: seconds to wait for
    another process's transaction. A commit is on disk when it returns (WAL, synchronous=FULL: one sync).
    """

    def __init__(
        self, path: str | os.PathLike[str] = "sessions.db", table_name: str = "sessions", *, lock_timeout: float = 30.0
    ) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,40}", table_name):
            raise InvalidInput(f"table_name {table_name!r} is no plain name: use letters, digits and '_'")
        self.path = Path(path)
        self.table = table_name
        self.lock_timeout = lock_timeout
        self._guard = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._closed = False
        self._keys: dict[str, int] = {}
        self._updates: dict[tuple[str, ...], str] = {}  # SQL by the fields it sets
        columns = ", ".join(f"s.{column}" for column in _COLUMNS.values())
        self._select = f"SELECT {columns}, d.body FROM {table_name} s LEFT JOIN {table_name}_details d USING (key)"
        self._insert_entry = f"INSERT INTO {table_name}_entries VALUES (?, ?, ?, ?)"

    @classmethod
    def from_url(cls, url: str) -> SQLiteSessionStore:
        """`sqlite:///relative.db` or `sqlite:////absolute.db`; `?table=NAME` for another table name."""
        from urllib.parse import parse_qs, urlsplit

        table = parse_qs(urlsplit(url).query).get("table", ["sessions"])[0]
        return cls(url_path(url, "sqlite"), table)

    @staticmethod
    def usual_url(home: Path) -> str:
        """Where this store lies when nobody says where."""
        return f"sqlite:///{home / 'sessions.db'}"

    # -- the six methods

    def load(self, session_id: str) -> Header | None:
        with self._reading() as db:
            row = db and db.execute(f"{self._select} WHERE s.session_id = ?", (session_id,)).fetchone()
            return _header(row) if row else None

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        rows = [(entry.position, entry.kind, entry.json) for entry in entries]

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            key = self._update(db, session_id, expected, changes) if expected else self._insert(db, session_id, changes)
            for row in rows:
                db.execute(self._insert_entry, (key, *row))
            db.execute("COMMIT")

        self._write(work)

    def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        sql = (
            f"SELECT body FROM {self.table}_entries WHERE session = (SELECT key FROM {self.table} WHERE session_id = ?) "
            f"AND position >= ? AND position < ?{' AND kind = ?' if kind else ''} ORDER BY position"
        )
        with self._reading() as db:
            rows = db.execute(sql, (session_id, start, stop, *([kind] if kind else []))).fetchall() if db else []
        return [Entry.from_json(body) for (body,) in rows]

    def find(self, query: Query) -> Page[Header]:
        where, values = self._conditions(query)
        sql = f"{self._select} WHERE {' AND '.join(where)} ORDER BY s.updated_at DESC, s.session_id DESC LIMIT ?"
        with self._reading() as db:
            rows = db.execute(sql, (*values, query.limit + 1)).fetchall() if db else []
        page = Page.of(rows, query.limit, lambda row: (row[_UPDATED_AT], row[0]))
        return Page([header for row in page.items if (header := _readable(row))], page.cursor)

    def delete(self, session_id: str) -> None:
        if not self._exists():
            return

        def work(db: sqlite3.Connection) -> None:
            db.execute("BEGIN IMMEDIATE")
            row = db.execute(f"SELECT key FROM {self.table} WHERE session_id = ?", (session_id,)).fetchone()
            for table, column in (("_texts", "session"), ("_entries", "session"), ("_details", "key"), ("", "key")):
                if row:
                    db.execute(f"DELETE FROM {self.table}{table} WHERE {column} = ?", row)
            db.execute("COMMIT")
            self._keys.pop(session_id, None)

        self._write(work)

    def close(self) -> None:
        with self._guard:
            self._closed = True
            if self._connection is not None and self._process == os.getpid():
                self._connection.close()
            self._connection = None

    def search(self, text: str, *, user_id: str | None = None, limit: int = 20) -> list[tuple[str, Entry]]:
        """(session id, entry) of the messages with all words of `text`, best first; brings the index up to date first."""
        if not self._exists():
            return []
        return self._write(lambda db: search(db, self.table, text, user_id, limit))

    def migrate(self) -> tuple[int, int]:
        """Bring the tables to the newest schema; the first use does it, too. Returns the versions (from, to)."""
        with self._guard:
            before = version(self.path, self.table) if self.path.exists() else 0
            self._write(lambda db: None)
        return before, len(MIGRATIONS)

    def check(self, repair: bool = False) -> dict[str, Any]:
        """What `sessile doctor` shows: SQLite's version and its own check of the file, and the search index."""
        with self._reading() as db:
            if db is None:
                return {"file": "not made yet"}
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
            (behind,) = db.execute(f"SELECT count(*) FROM {self.table} WHERE indexed < head").fetchone()
        if repair and behind:
            self.search("")
            behind = 0
        index = f"{behind} sessions behind, which the next search mends" if behind else "complete"
        return {"server": f"SQLite {sqlite3.sqlite_version}", "file": sound, "index": index}

    # -- writing

    def _update(self, db: sqlite3.Connection, session_id: str, expected: int, changes: Mapping[str, Any]) -> int:
        names = tuple(changes)
        sql = self._updates.get(names) or self._updates.setdefault(names, self._update_sql(names))
        values = [value for name, value in changes.items() if name in _COLUMNS]
        key = self._keys.get(session_id) or self._find_key(db, session_id)
        done = db.execute(sql, (*values, key, session_id, expected))
        if done.rowcount != 1:
            self._keys.pop(session_id, None)
            self._lost(db, session_id, expected)
        if len(values) < len(changes):
            self._update_details(db, key, changes)
        return key

    def _update_sql(self, names: Sequence[str]) -> str:
        sets = ", ".join(f"{_COLUMNS[name]} = ?" for name in names if name in _COLUMNS)
        # the session id too: after a delete its key may be given to another
        return f"UPDATE {self.table} SET {sets} WHERE key = ? AND session_id = ? AND version = ?"

    def _update_details(self, db: sqlite3.Connection, key: int, changes: Mapping[str, Any]) -> None:
        (body,) = db.execute(f"SELECT body FROM {self.table}_details WHERE key = ?", (key,)).fetchone()
        details = _details({**from_json(body), **changes})
        db.execute(f"UPDATE {self.table}_details SET body = ? WHERE key = ?", (to_json(details), key))

    def _insert(self, db: sqlite3.Connection, session_id: str, changes: Mapping[str, Any]) -> int:
        names = [name for name in changes if name in _COLUMNS]
        sql = (
            f"INSERT INTO {self.table} ({', '.join(_COLUMNS[name] for name in names)}) VALUES ({', '.join('?' * len(names))}) "
            "ON CONFLICT (session_id) DO NOTHING"
        )
        done = db.execute(sql, [changes[name] for name in names])
        if done.rowcount != 1:
            self._lost(db, session_id, 0)
        key = self._know_key(session_id, int(done.lastrowid or 0))
        db.execute(f"INSERT OR REPLACE INTO {self.table}_details VALUES (?, ?)", (key, to_json(_details(changes))))
        return key

    def _lost(self, db: sqlite3.Connection, session_id: str, expected: int) -> None:
        row = db.execute(f"{self._select} WHERE s.session_id = ?", (session_id,)).fetchone()
        raise Conflict(f"session {session_id!r} is not at version {expected} any more", _header(row) if row else None)

    def _find_key(self, db: sqlite3.Connection, session_id: str) -> int:
        row = db.execute(f"SELECT key FROM {self.table} WHERE session_id = ?", (session_id,)).fetchone()
        return self._know_key(session_id, int(row[0])) if row else -1

    def _know_key(self, session_id: str, key: int) -> int:
        if len(self._keys) >= _KEYS:
            self._keys.clear()
        self._keys[session_id] = key
        return key

    # -- reading

    def _conditions(self, query: Query) -> tuple[list[str], list[Any]]:
        reserved = query.prefix.startswith(RESERVED)
        parts: list[tuple[str, Any]] = [(f"substr(s.session_id, 1, 1) {'=' if reserved else '!='} ?", RESERVED)]
        asked = {name: getattr(query, name) for name in ("user_id", "status", "parent", "root")}
        parts += [(f"s.{name} = ?", value) for name, value in asked.items() if value is not None]
        if query.prefix:
            parts += [("substr(s.session_id, 1, ?) = ?", (len(query.prefix), query.prefix))]
        if query.before is not None:
            parts.append(("s.updated_at < ?", query.before))
        if query.after is not None:
            parts.append(("s.updated_at >= ?", query.after))
        if (behind := query.behind()) is not None:
            parts.append(("(s.updated_at, s.session_id) < (?, ?)", behind))
        values = [v for _, value in parts for v in (value if isinstance(value, tuple) else (value,))]
        return [sql for sql, _ in parts], values

    # -- the connection

    def _write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do something on the connection; where it fails, nothing of it stays."""
        db: sqlite3.Connection | None = None
        with self._guard:
            try:
                db = self._connect()
                return work(db)
            except BaseException as error:
                if db is not None and db.in_transaction:
                    db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise self._explained(error) from error
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """The connection, or None while there is no file: reading makes none."""
        with self._guard:
            if not self._exists():
                yield None
                return
            try:
                yield self._connect()
            except sqlite3.Error as error:
                raise self._explained(error) from error

    def _exists(self) -> bool:
        if self._closed:
            raise Closed(f"the SQLite store {str(self.path)!r} is closed: make a new SQLiteSessionStore")
        return self._connection is not None or self.path.exists()

    def _connect(self) -> sqlite3.Connection:
        self._check_process()
        if self._closed:
            raise Closed(f"the SQLite store {str(self.path)!r} is closed: make a new SQLiteSessionStore")
        if self._connection is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            db = sqlite3.connect(self.path, timeout=self.lock_timeout, isolation_level=None, check_same_thread=False)
            try:
                self._set_up(db)
            except BaseException:
                db.close()
                raise
            self._connection = db
            weakref.finalize(self, _close, db, os.getpid())  # a store that nobody closed
        return self._connection

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

    def _check_process(self) -> None:
        if self._process != os.getpid():  # a connection must not be used on after a fork
            self._process, self._connection, self._guard = os.getpid(), None, threading.RLock()

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


def _header(row: Sequence[Any]) -> Header:
    *fields, body = row
    try:
        details = from_json(body)
    except (TypeError, ValueError) as error:
        raise CorruptStore(f"the details of session {row[0]!r} are not JSON ({error}): delete it, or restore a copy") from error
    details.update(zip(_COLUMNS, fields, strict=True))
    return Header.from_dict(details)


def _readable(row: Sequence[Any]) -> Header | None:
    """A header for a list; None for a broken one, which must not hide the others."""
    try:
        return _header(row)
    except CorruptStore:
        return None


def _details(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without a column; those that are empty, as they are in a new header, need not be kept."""
    return {name: value for name, value in changes.items() if name not in _COLUMNS and (value or name not in _EMPTY)}
