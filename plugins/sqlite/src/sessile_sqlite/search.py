"""Full-text search. The index is brought up to date when somebody searches, so that appends pay nothing for it."""

from __future__ import annotations

import sqlite3

from sessile.errors import CorruptStore
from sessile.log import Entry
from sessile.messages import from_entry


def search(
    db: sqlite3.Connection, table: str, text: str, user_id: str | None, limit: int, offset: int
) -> list[tuple[str, Entry]]:
    """(log id, entry) of the messages that have all words of `text`, best first; whether they count is not looked at."""
    from sqlite_utils import Database  # slow to import, and seldom needed

    _catch_up(db, table)
    words = " ".join('"' + word.replace('"', '""') + '"' for word in text.split())  # else some are operators of FTS5
    if not words:
        return []
    whose = f"log IN (SELECT key FROM {table}_logs WHERE user_id = :user)" if user_id is not None else None
    found = Database(db)[f"{table}_texts"].search_sql(columns=["log", "position"], where=whose, limit=limit, offset=offset)
    values = {"query": words, "user": user_id}
    hits: list[tuple[str, Entry]] = []
    for key, position in db.execute(found, values).fetchall():
        row = db.execute(
            f"SELECT l.log, e.body FROM {table}_logs l JOIN {table}_entries e ON e.log = l.key WHERE l.key = ? AND position = ?",
            (key, position),
        ).fetchone()
        if row:
            hits.append((row[0], Entry.from_json(row[1])))
    return hits


def _catch_up(db: sqlite3.Connection, table: str) -> None:
    """Index what was committed since the last search, in logs that outlived their sessions too."""
    db.execute("BEGIN IMMEDIATE")
    length = f"coalesce(s.head, (SELECT max(position) + 1 FROM {table}_entries e WHERE e.log = l.key))"
    sql = f"SELECT l.key, indexed, {length} FROM {table}_logs l LEFT JOIN {table} s USING (key) WHERE indexed < {length}"
    for key, indexed, head in db.execute(sql).fetchall():
        bodies = db.execute(
            f"SELECT position, body FROM {table}_entries WHERE log = ? AND position >= ? AND kind = 'message'", (key, indexed)
        )
        rows = [(key, position, _text(body)) for position, body in bodies.fetchall()]
        db.executemany(f"INSERT INTO {table}_texts (log, position, text) VALUES (?, ?, ?)", rows)
        db.execute(f"UPDATE {table}_logs SET indexed = ? WHERE key = ?", (head, key))
    db.execute("COMMIT")


def _text(body: str) -> str:
    try:
        return from_entry(Entry.from_json(body)).text
    except CorruptStore:  # a broken entry must not keep the others from being found
        return ""
