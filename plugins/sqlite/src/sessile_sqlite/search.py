"""Full-text search. The index is made, and brought up to date, when somebody searches: appends pay nothing for it.

For `table_name="sessions"` it is the table `sessions_words`: the words of each message, as the index takes them, under the
place of its entry (see `entries.py`), without the text, which the entry has. `indexed` of a log says how far it goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

from sessile.errors import CorruptStore, Missing
from sessile.store import SearchQuery, to_json
from sessile_search import expression, make_table, words_of, write_anew
from sessile_sqlite.entries import KEY_SHIFT, Entries, position_of

PIECE = 1000  # entries that are indexed in one transaction


class Index:
    """The index of a store's messages. Includes those that were reverted."""

    def __init__(self, table: str, entries: Entries) -> None:
        self._logs, self._words = f"{table}_logs", f"{table}_words"
        self._entries, self._rows = entries, f"{table}_entries"
        head = f"coalesce(s.head, {entries.length}, 0)"
        self._lengths = f"SELECT l.key, l.log, indexed, {head} FROM {self._logs} l LEFT JOIN {table} s USING (key)"

    def search(self, db: sqlite3.Connection, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]]:
        """(log, position) of the messages that may be what is asked for, best first."""
        if not self._exists(db):
            return []
        asked, values = f"{self._words} MATCH ? ORDER BY rank, rowid LIMIT ? OFFSET ?", list[Any]()
        if query.after is not None:
            asked = f"EXISTS (SELECT 1 FROM {self._rows} WHERE place = {self._words}.rowid AND time >= ?) AND {asked}"
            values.append(query.after)
        whose = "" if query.user_id is None else " AND user_id = ?"
        within = "" if query.logs is None else " AND log IN (SELECT value FROM json_each(?))"
        if whose or within:
            log = f"SELECT 1 FROM {self._logs} WHERE key = {self._words}.rowid >> {KEY_SHIFT}{whose}{within}"
            asked = f"EXISTS ({log}) AND {asked}"
            values[:0] = [*([query.user_id] if whose else []), *([to_json(list(query.logs or ()))] if within else [])]
        sql = f"SELECT rowid FROM {self._words} WHERE {asked}"
        places = [place for (place,) in db.execute(sql, (*values, expression(query), limit, offset))]
        sql = f"SELECT log FROM {self._logs} WHERE key = ?"
        logs = {key: db.execute(sql, (key,)).fetchone() for key in {place >> KEY_SHIFT for place in places}}
        return [(log[0], position_of(place)) for place in places if (log := logs[place >> KEY_SHIFT])]

    def catch_up(self, write: Callable[[Callable[[sqlite3.Connection], list[int]]], list[int]]) -> None:
        """Index what was committed since the last search, in logs that outlived their sessions too.

        write: does something on the connection, which is free for others in between: a commit waits for one piece, not for all.
        """
        waiting = write(self._begin)
        while waiting:
            waiting = write(lambda db, keys=waiting: self._index_piece(db, keys))

    def forget(self, db: sqlite3.Connection, key: int, log: str, keep: int) -> None:
        """Take the words of a log out of the index from a position on, before its entries go.

        From SQLite 3.42 on the words are gone with that. Before, they stay in the index's file until it is written anew, by later
        searches or `forget_words`; not where nothing else is left in it.
        """
        if not self._exists(db):
            return
        (indexed,) = db.execute(f"SELECT indexed FROM {self._logs} WHERE key = ?", (key,)).fetchone()
        gone = [(place, words_of(text)) for place, text in self._texts(db, log, keep, indexed)]
        db.executemany(f"INSERT INTO {self._words} ({self._words}, rowid, words) VALUES ('delete', ?, ?)", gone)
        db.execute(f"UPDATE {self._logs} SET indexed = min(indexed, ?) WHERE key = ?", (keep, key))
        if gone and not db.execute(f"SELECT 1 FROM {self._logs} WHERE indexed > 0 LIMIT 1").fetchone():
            db.execute(f"INSERT INTO {self._words} ({self._words}) VALUES ('delete-all')")

    def forget_words(self, db: sqlite3.Connection) -> None:
        """Write the index anew, without the words of texts that were deleted: takes as long as it is large."""
        if self._exists(db):
            write_anew(db, self._words)

    def behind(self, db: sqlite3.Connection) -> list[int]:
        """The keys of the logs with entries that are not indexed yet."""
        return [key for key, _, indexed, head in db.execute(self._lengths) if indexed < head]

    def _exists(self, db: sqlite3.Connection) -> bool:
        return bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (self._words,)).fetchone())

    def _begin(self, db: sqlite3.Connection) -> list[int]:
        if not self._exists(db):
            db.execute("BEGIN IMMEDIATE")
            if not self._exists(db):
                make_table(db, self._words, deletes=False)
            db.execute("COMMIT")
        return self.behind(db)

    def _index_piece(self, db: sqlite3.Connection, waiting: list[int]) -> list[int]:
        """Index the next entries of these logs in one transaction. Returns the logs that are behind still."""
        db.execute("BEGIN IMMEDIATE")
        left = PIECE
        while waiting and left > 0:
            key = waiting.pop()
            # anew: another process may have indexed it meanwhile, or removed it
            _, log, start, head = db.execute(f"{self._lengths} WHERE l.key = ?", (key,)).fetchone() or (key, "", 0, 0)
            stop = min(start + left, head)
            if start < stop:
                rows = [(place, words_of(text)) for place, text in self._texts(db, log, start, stop)]
                db.executemany(f"INSERT INTO {self._words} (rowid, words) VALUES (?, ?)", rows)
                db.execute(f"UPDATE {self._logs} SET indexed = ? WHERE key = ?", (stop, key))
                left -= stop - start
            if stop < head:
                waiting.append(key)
        db.execute("COMMIT")
        return waiting

    def _texts(self, db: sqlite3.Connection, log: str, start: int, stop: int) -> Iterable[tuple[int, str]]:
        """(place, text) of the messages of a range, as far as they can be read: a broken one hides none of the others."""
        if start >= stop:
            return []
        try:
            return self._entries.texts(db, log, start, stop)
        except (CorruptStore, Missing):
            if stop - start == 1:
                return []
            middle = (start + stop) // 2
            return [*self._texts(db, log, start, middle), *self._texts(db, log, middle, stop)]
