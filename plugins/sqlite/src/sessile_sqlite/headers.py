"""Headers as rows: what has a column of its own, what is in the details, and the conditions of a query."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sessile.errors import CorruptStore
from sessile.store import (
    COLUMNS,
    RESERVED,
    UNSEEN,
    Header,
    Page,
    Query,
    Recent,
    conflict,
    from_json,
    from_row,
    is_unset,
    page_of_rows,
    to_json,
)

_REMEMBERED = 10_000  # sessions
_LARGEST = 2.0**62  # seconds


class Headers:
    """The headers of a store, and what is remembered of them: keys, which never change, and whole headers.

    A header that is remembered is right as long as no other connection has committed, which SQLite's `data_version` tells, and
    this one has not changed it.
    """

    def __init__(self, table: str) -> None:
        self._table = table
        self._keys = Recent[str, int](_REMEMBERED)
        self._headers = Recent[str, Header](_REMEMBERED)
        self._state: int | None = None  # the `data_version` that these are of
        self._after: Header | None = None  # the header that is being committed
        self._updates: dict[tuple[str, ...], str] = {}  # SQL by the fields it sets
        columns = ", ".join(f"s.{column}" for column in COLUMNS.values())
        self._select = f"SELECT {columns}, d.body FROM {table} s LEFT JOIN {table}_details d USING (key)"

    def forget(self) -> None:
        """Forget everything: the file may be another one."""
        self._keys.clear()
        self._headers.clear()
        self._state = None

    def load(self, db: sqlite3.Connection, session_id: str) -> Header | None:
        """See `Store.load`."""
        (state,) = db.execute("PRAGMA data_version").fetchone()
        if state != self._state:
            self._headers.clear()
            self._state = state
        known = self._headers.get(session_id)
        if known is None:
            known = self._read(db, session_id)
            if known is not None:
                self._headers[session_id] = known
        return known

    def find(self, db: sqlite3.Connection | None, query: Query) -> Page[Header]:
        """See `Store.find`."""
        where, values = _conditions(query)
        sql = f"{self._select} WHERE {' AND '.join(where)} ORDER BY s.hour DESC, s.updated_at DESC, s.session_id DESC LIMIT ?"
        rows = rows_of(db, sql, (*values, query.limit + 1)) if db else []
        return page_of_rows(rows, query.limit, _to_header)

    def put(self, db: sqlite3.Connection, session_id: str, expected: int, changes: Mapping[str, Any]) -> int:
        """Set fields of a header, if it is at this version, else `Conflict`. Returns its key. See `committed`."""
        before, self._after = self._headers.pop(session_id, None), None
        if not expected:
            key = self._insert(db, session_id, changes)
            self._after = Header.from_dict(changes)
            return key
        if before is None or before.version != expected:
            before = self._read(db, session_id)
        if before is None or before.version != expected:
            raise conflict(session_id, expected, before)
        key = self._update(db, before, changes)
        self._after = before.after(changes)
        return key

    def committed(self, session_id: str) -> None:
        """Called when what the last `put` did is committed."""
        if self._after is not None:
            self._headers[session_id] = self._after

    def remove(self, db: sqlite3.Connection, session_id: str, expected: int | None) -> int:
        """Remove a header; `Conflict` where it is not at that version, or (None) can be read. Returns its key."""
        self._headers.pop(session_id, None)
        self._keys.pop(session_id, None)
        sql = f"SELECT key, version FROM {self._table} WHERE session_id = ?"
        key, version = db.execute(sql, (session_id,)).fetchone() or (0, 0)
        if expected is None:
            with suppress(CorruptStore):
                self._lost(db, session_id, expected)
        elif not version or version != expected:
            self._lost(db, session_id, expected)
        db.execute(f"DELETE FROM {self._table} WHERE key = ?", (key,))
        db.execute(f"DELETE FROM {self._table}_details WHERE key = ?", (key,))
        return int(key)

    def _read(self, db: sqlite3.Connection, session_id: str) -> Header | None:
        rows = rows_of(db, f"{self._select} WHERE s.session_id = ?", (session_id,))
        return _to_header(rows[0]) if rows else None

    def _lost(self, db: sqlite3.Connection, session_id: str, expected: int | None) -> None:
        raise conflict(session_id, expected, self._read(db, session_id))

    def _update(self, db: sqlite3.Connection, before: Header, changes: Mapping[str, Any]) -> int:
        hour = hour_of(changes["updated_at"])
        moved = hour != hour_of(before.updated_at)
        names = (*changes, *(["hour"] if moved else []))
        sql = self._updates.get(names) or self._updates.setdefault(names, self._update_sql(names))
        values = [value for name, value in changes.items() if name in COLUMNS]
        columns = [*values, hour] if moved else values
        known = self._keys.get(before.session_id)
        key = known or self._find_key(db, before.session_id)
        done = db.execute(sql, (*columns, key, before.session_id, before.version))
        if done.rowcount != 1 and known:  # it may be of a session that was deleted and begun anew
            key = self._find_key(db, before.session_id)
            done = db.execute(sql, (*columns, key, before.session_id, before.version))
        if done.rowcount != 1:
            self._keys.pop(before.session_id, None)
            self._lost(db, before.session_id, before.version)
        if len(values) < len(changes):
            self._update_details(db, key, changes)
        return key

    def _update_sql(self, names: Sequence[str]) -> str:
        columns = [COLUMNS.get(name, name) for name in names if name in COLUMNS or name == "hour"]
        sets = ", ".join(f"{column} = ?" for column in columns)
        # the session id too: after a delete its key may be given to another
        return f"UPDATE {self._table} SET {sets} WHERE key = ? AND session_id = ? AND version = ?"

    def _update_details(self, db: sqlite3.Connection, key: int, changes: Mapping[str, Any]) -> None:
        (body,) = db.execute(f"SELECT body FROM {self._table}_details WHERE key = ?", (key,)).fetchone()
        details = _to_details({**from_json(body), **changes})
        db.execute(f"UPDATE {self._table}_details SET body = ? WHERE key = ?", (to_json(details), key))

    def _insert(self, db: sqlite3.Connection, session_id: str, changes: Mapping[str, Any]) -> int:
        names = [name for name in changes if name in COLUMNS]
        if db.execute(f"SELECT 1 FROM {self._table} WHERE session_id = ?", (session_id,)).fetchone():
            self._lost(db, session_id, 0)
        log = db.execute(f"INSERT INTO {self._table}_logs (log, user_id) VALUES (?, ?)", (changes["log"], changes["user_id"]))
        key = self._keys[session_id] = int(log.lastrowid or 0)
        sql = f"INSERT INTO {self._table} (key, hour, {', '.join(COLUMNS[n] for n in names)}) VALUES (?, ?{', ?' * len(names)})"
        db.execute(sql, [key, hour_of(changes["updated_at"]), *(changes[name] for name in names)])
        db.execute(f"INSERT INTO {self._table}_details VALUES (?, ?)", (key, to_json(_to_details(changes))))
        return key

    def _find_key(self, db: sqlite3.Connection, session_id: str) -> int:
        row = db.execute(f"SELECT key FROM {self._table} WHERE session_id = ?", (session_id,)).fetchone()
        if row:
            self._keys[session_id] = int(row[0])
        return int(row[0]) if row else -1


def rows_of(db: sqlite3.Connection, sql: str, values: Sequence[Any]) -> list[Any]:
    """The rows of a query. A text that is no UTF-8 becomes bytes, which no header has: only its own row is broken then."""
    try:
        return db.execute(sql, values).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    db.text_factory = _as_far_as_it_is_text
    try:
        return db.execute(sql, values).fetchall()
    finally:
        db.text_factory = str


def _to_header(row: Sequence[Any]) -> Header:
    if bytes in map(type, row):
        raise CorruptStore(f"the header of session {row[0]!r:.60} has a text that is none: restore a copy, or delete it")
    return from_row(row)


def _as_far_as_it_is_text(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def hour_of(updated_at: float) -> int:
    """The column that lists go by: it follows from `updated_at`, and most commits need not touch its index."""
    return int(max(-_LARGEST, min(updated_at, _LARGEST)) // 3600)


def _to_details(changes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without a column; those that are as in a new header need not be kept."""
    return {n: value for n, value in changes.items() if n not in COLUMNS and not is_unset(n, value)}


def _conditions(query: Query) -> tuple[list[str], list[Any]]:
    """The parts of the WHERE clause of a query, and their values."""
    parts: list[tuple[str, Any]] = [(f"substr(s.session_id, 1, 1) {'=' if query.reserved else '!='} ?", RESERVED)]
    if query.status is None:
        parts.append(("s.status NOT IN (?, ?)", UNSEEN))
    parts += [(f"s.{name} = ?", value) for name, value in query.equal.items()]
    if query.prefix:
        parts += [("substr(s.session_id, 1, ?) = ?", (len(query.prefix), query.prefix))]
    if query.before is not None:
        parts += [("s.hour <= ?", hour_of(query.before)), ("s.updated_at < ?", query.before)]
    if query.after is not None:
        parts += [("s.hour >= ?", hour_of(query.after)), ("s.updated_at >= ?", query.after)]
    if (behind := query.behind()) is not None:
        parts += [("s.hour <= ?", hour_of(behind[0])), ("(s.updated_at, s.session_id) < (?, ?)", behind)]
    values = [v for _, value in parts for v in (value if isinstance(value, tuple) else (value,))]
    return [sql for sql, _ in parts], values
