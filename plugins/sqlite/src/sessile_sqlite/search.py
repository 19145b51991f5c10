"""Full-text search. The index is brought up to date when somebody searches, so that appends pay nothing for it."""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database

from sessile.encoding import from_json
from sessile.errors import CorruptStore
from sessile.log import Entry, Header
from sessile.messages import from_entry


def search(db: sqlite3.Connection, table: str, text: str, user_id: str | None, limit: int) -> list[tuple[str, Entry]]:
    """(session id, entry) of the messages that count and have all words of `text`, best first."""
    _catch_up(db, table)
    utils = Database(db)
    if not text.strip():
        return []
    whose = f"session IN (SELECT key FROM {table} WHERE user_id = :user)" if user_id is not None else None
    sql = utils[f"{table}_texts"].search_sql(columns=["session", "position"], where=whose)
    hits: list[tuple[str, Entry]] = []
    for key, position in db.execute(sql, {"query": utils.quote_fts(text), "user": user_id}):
        row = db.execute(
            f"SELECT s.session_id, s.head, d.body, e.body FROM {table} s JOIN {table}_details d USING (key) "
            f"JOIN {table}_entries e ON e.session = s.key WHERE s.key = ? AND e.position = ?",
            (key, position),
        ).fetchone()
        if row and _counts(*row[:3], position):
            hits.append((row[0], Entry.from_json(row[3])))
        if len(hits) >= limit:
            break
    return hits


def _counts(session_id: str, head: int, details: str, position: int) -> bool:
    lineage = from_json(details).get("lineage", ())
    header = Header.from_dict({"session_id": session_id, "head": head, "lineage": lineage})
    return any(s.session_id == session_id and s.start <= position < (s.stop or 0) for s in header.segments)


def _catch_up(db: sqlite3.Connection, table: str) -> None:
    """Index what was committed since the last search."""
    db.execute("BEGIN IMMEDIATE")
    behind = db.execute(f"SELECT key, indexed, head FROM {table} WHERE indexed < head").fetchall()
    for key, indexed, head in behind:
        bodies = db.execute(
            f"SELECT position, body FROM {table}_entries WHERE session = ? AND position >= ? AND kind = 'message'",
            (key, indexed),
        )
        rows = [(key, position, _text(body)) for position, body in bodies.fetchall()]
        db.executemany(f"INSERT INTO {table}_texts (session, position, text) VALUES (?, ?, ?)", rows)
        db.execute(f"UPDATE {table} SET indexed = ? WHERE key = ?", (head, key))
    db.execute("COMMIT")


def _text(body: str) -> str:
    try:
        return from_entry(Entry.from_json(body)).text
    except CorruptStore:  # a broken entry must not keep the others from being found
        return ""
