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
from sessile_search import find_rows, make_table, places_of, words_of, write_anew
from sessile_sqlite.entries import KEY_SHIFT, Entries, position_of

PIECE = 1000  # entries that are indexed in one transaction


class Index:
    """The index of a store's messages. Includes those that were reverted."""

    def __init__(self, table: str, entries: Entries) -> None:
        self._logs, self._words = f"{table}_logs", f"{table}_words"
        self._entries, self._rows = entries, f"{table}_entries"
        ancestors = f"{table} s JOIN {table}_details d USING (key), json_each(d.body, '$.ancestors') a"
        self._of_user = (  # the keys of the logs that a user's sessions read: forks may inherit from another user's
            f"SELECT key FROM {self._logs} WHERE user_id = ? UNION SELECT key FROM {self._logs} WHERE log IN "
            f"(SELECT json_extract(a.value, '$[0]') FROM {ancestors} WHERE s.user_id = ? AND s.parent IS NOT NULL)"
        )
        # that of the header, unless there is more to be indexed: then as far as there are entries
        head = f"CASE WHEN s.head <= indexed THEN s.head ELSE coalesce({entries.length}, 0) END"
        self._lengths = f"SELECT l.key, l.log, indexed, {head} FROM {self._logs} l LEFT JOIN {table} s USING (key)"

    def search(self, db: sqlite3.Connection, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]]:
        """(log, position) of the messages that may be what is asked for, best first."""
        if not self._exists(db):
            return []
        where: dict[str, list[Any]] = {}
        if query.user_id is not None:
            where[f"rowid >> {KEY_SHIFT} IN ({self._of_user})"] = [query.user_id] * 2
        if query.logs is not None:
            log = "SELECT value FROM json_each(?)"
            where[f"rowid >> {KEY_SHIFT} IN (SELECT key FROM {self._logs} WHERE log IN ({log}))"] = [to_json(list(query.logs))]
        if query.after is not None:
            where[f"EXISTS (SELECT 1 FROM {self._rows} WHERE place = {self._words}.rowid AND time >= ?)"] = [query.after]
        rows = find_rows(db, self._words, query, where, limit, offset)
        return [(log, position_of(place)) for log, place in places_of(db, self._logs, rows, KEY_SHIFT)]

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
                db.execute(f"UPDATE {self._logs} SET indexed = 0")
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
