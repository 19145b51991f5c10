"""The floor: what somebody would write by hand on the same driver, with the same durability."""

from __future__ import annotations

import json
import secrets
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TEXT = "The quick brown fox jumps over the lazy dog, and then it does so again. " * 3  # 216 characters


class Floor:
    """Two tables; an append is: begin, update the header where its version fits, insert the entry, commit."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute(
            "CREATE TABLE sessions (id TEXT PRIMARY KEY, user_id TEXT, version INTEGER, count INTEGER, updated REAL, data TEXT)"
        )
        self.db.execute("CREATE INDEX by_user ON sessions (user_id, updated)")
        self.db.execute(
            "CREATE TABLE entries (session TEXT, position INTEGER, data TEXT, PRIMARY KEY (session, position)) WITHOUT ROWID"
        )
        self.versions: dict[str, int] = {}

    def create(self, session: str, user: str = "u") -> None:
        data = json.dumps({"created": time.time(), "title": "", "status": "active", "metadata": {}, "state": {}})
        self.db.execute("INSERT INTO sessions VALUES (?, ?, 0, 0, ?, ?)", (session, user, time.time(), data))
        self.versions[session] = 0

    def append(self, session: str = "s", text: str = TEXT) -> None:
        version, now = self.versions[session], time.time()
        message = {"id": secrets.token_hex(10), "role": "user", "content": text, "time": now, "turn": None}
        self.db.execute("BEGIN IMMEDIATE")
        changed = self.db.execute(
            "UPDATE sessions SET version = version + 1, count = count + 1, updated = ? WHERE id = ? AND version = ?",
            (now, session, version),
        )
        assert changed.rowcount == 1
        self.db.execute("INSERT INTO entries VALUES (?, ?, ?)", (session, version, json.dumps(message)))
        self.db.execute("COMMIT")
        self.versions[session] = version + 1

    def last(self, count: int, session: str = "s") -> list[Any]:
        rows = self.db.execute(
            "SELECT data FROM entries WHERE session = ? ORDER BY position DESC LIMIT ?", (session, count)
        ).fetchall()
        return [json.loads(data) for (data,) in reversed(rows)]

    def page(self, user: str, count: int) -> list[dict[str, Any]]:
        rows = self.db.execute(
            "SELECT id, user_id, version, count, updated, data FROM sessions WHERE user_id = ? ORDER BY updated DESC LIMIT ?",
            (user, count),
        ).fetchall()
        return [{"id": r[0], "user": r[1], "version": r[2], "count": r[3], "updated": r[4], **json.loads(r[5])} for r in rows]


class Bare:
    """Less still: messages as JSON in one table with an index, and no header. An append of a pair is two rows in a commit."""

    def __init__(self, path: Path) -> None:
        self.db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")
        self.db.execute("CREATE TABLE IF NOT EXISTS messages (id INTEGER PRIMARY KEY, session TEXT, data TEXT)")
        self.db.execute("CREATE INDEX IF NOT EXISTS by_session ON messages (session, id)")

    def append(self, *texts: str) -> None:
        self.add("s", [("user", text) for text in texts])

    def add(self, session: str, said: Iterable[tuple[str, str]]) -> None:
        """Roles and texts, in one commit."""
        self.db.execute("BEGIN IMMEDIATE")
        for role, text in said:
            message = {"id": secrets.token_hex(10), "role": role, "content": text, "time": time.time()}
            self.db.execute("INSERT INTO messages (session, data) VALUES (?, ?)", (session, json.dumps(message)))
        self.db.execute("COMMIT")

    def whole(self, session: str = "s") -> list[Any]:
        rows = self.db.execute("SELECT data FROM messages WHERE session = ? ORDER BY id", (session,)).fetchall()
        return [json.loads(data) for (data,) in rows]

    def last(self, count: int, session: str = "s") -> list[Any]:
        rows = self.db.execute(
            "SELECT data FROM messages WHERE session = ? ORDER BY id DESC LIMIT ?", (session, count)
        ).fetchall()
        return [json.loads(data) for (data,) in reversed(rows)]
