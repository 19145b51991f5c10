"""Full-text search. The index is brought up to date when somebody searches, so that appends pay nothing for it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import suppress

from sessile.errors import CorruptStore
from sessile.store import Entry, from_entry, words

PIECE = 1000  # entries that are indexed in one transaction


def search(
    db: sqlite3.Connection, table: str, text: str, user_id: str | None, limit: int, offset: int
) -> list[tuple[str, Entry]]:
    """(log id, entry) of the messages that have all words of `text`, best first. Includes messages that were reverted."""
    from sqlite_utils import Database  # slow to import, and seldom needed

    wanted = " ".join(f'"{word}"' for word in words(text))  # quoted, as some may be operators of FTS5
    if not wanted:
        return []
    whose = f"log IN (SELECT key FROM {table}_logs WHERE user_id = :user)" if user_id is not None else None
    found = Database(db)[f"{table}_texts"].search_sql(columns=["log", "position"], where=whose, limit=limit, offset=offset)
    values = {"query": wanted, "user": user_id}
    hits: list[tuple[str, Entry]] = []
    for key, position in db.execute(found, values).fetchall():
        row = db.execute(
            f"SELECT l.log, e.body FROM {table}_logs l JOIN {table}_entries e ON e.log = l.key WHERE l.key = ? AND position = ?",
            (key, position),
        ).fetchone()
        if row:
            with suppress(CorruptStore):  # a broken entry must not keep the others from being found
                hits.append((row[0], Entry.from_json(row[1])))
    return hits


def look_through(db: sqlite3.Connection, table: str, text: str, user_id: str | None) -> Iterator[tuple[str, Entry]]:
    """(log id, entry) of the messages that are not indexed yet and have all words of `text`: where no index can be written."""
    wanted = set(words(text))
    sql = (
        f"SELECT l.log, e.body FROM {table}_logs l JOIN {table}_entries e ON e.log = l.key WHERE e.kind = 'message' "
        "AND e.position >= l.indexed AND (? IS NULL OR l.user_id = ?)"
    )
    for log, body in db.execute(sql, (user_id, user_id)):
        if wanted and wanted <= set(_text(body).split()):
            with suppress(CorruptStore):
                yield log, Entry.from_json(body)


def catch_up(write: Callable[[Callable[[sqlite3.Connection], list[int]]], list[int]], table: str) -> None:
    """Index what was committed since the last search, in logs that outlived their sessions too.

    write: does something on the connection, which is free for others in between: a commit waits for one piece, not for all.
    """
    waiting = write(lambda db: _behind(db, table))
    while waiting:
        waiting = write(lambda db, keys=waiting: _index_piece(db, table, keys))


def forget(db: sqlite3.Connection, table: str, key: int, keep: int) -> None:
    """Take the texts of a log out of the index from a position on.

    From SQLite 3.42 on the words are gone with that. Before, they stay in the index's file until it is written anew, by later
    searches or `forget_words`; not where nothing else is left in it.
    """
    gone = db.execute(f"DELETE FROM {table}_texts WHERE log = ? AND position >= ?", (key, keep)).rowcount
    if gone and not db.execute(f"SELECT 1 FROM {table}_texts LIMIT 1").fetchone():
        db.execute(f"INSERT INTO {table}_texts_fts ({table}_texts_fts) VALUES ('delete-all')")


def forget_words(db: sqlite3.Connection, table: str) -> None:
    """Write the index anew, without the words of texts that were deleted: takes as long as it is large."""
    db.execute(f"INSERT INTO {table}_texts_fts ({table}_texts_fts) VALUES ('optimize')")


def _behind(db: sqlite3.Connection, table: str) -> list[int]:
    """The keys of the logs with entries that are not indexed yet."""
    return [key for key, indexed, head in db.execute(_lengths(table)) if indexed < head]


def _lengths(table: str) -> str:
    """SQL for (key, how many entries are indexed, how many there are) of each log."""
    head = f"coalesce(s.head, (SELECT max(position) + 1 FROM {table}_entries e WHERE e.log = l.key), 0)"
    return f"SELECT l.key, indexed, {head} FROM {table}_logs l LEFT JOIN {table} s USING (key)"


def _index_piece(db: sqlite3.Connection, table: str, waiting: list[int]) -> list[int]:
    """Index the next entries of these logs in one transaction. Returns the logs that are behind still."""
    db.execute("BEGIN IMMEDIATE")
    left = PIECE
    while waiting and left > 0:
        key = waiting.pop()
        # anew: another process may have indexed it meanwhile, or removed it
        _, start, head = db.execute(f"{_lengths(table)} WHERE l.key = ?", (key,)).fetchone() or (key, 0, 0)
        stop = min(start + left, head)
        if start < stop:
            _index(db, table, key, start, stop)
            left -= stop - start
        if stop < head:
            waiting.append(key)
    db.execute("COMMIT")
    return waiting


def _index(db: sqlite3.Connection, table: str, key: int, start: int, stop: int) -> None:
    sql = f"SELECT position, body FROM {table}_entries WHERE log = ? AND position >= ? AND position < ? AND kind = 'message'"
    rows = [(key, position, _text(body)) for position, body in db.execute(sql, (key, start, stop))]
    db.executemany(f"INSERT INTO {table}_texts (log, position, text) VALUES (?, ?, ?)", rows)
    db.execute(f"UPDATE {table}_logs SET indexed = ? WHERE key = ?", (stop, key))


def _text(body: str) -> str:
    """The words of a message as they are indexed: what the index takes for a word is then decided in one place."""
    try:
        return " ".join(words(from_entry(Entry.from_json(body)).text))
    except CorruptStore:  # a broken entry must not keep the others from being found
        return ""
