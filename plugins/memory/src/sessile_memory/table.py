"""The items in a database, beside their passages: made of entries, hidden by entries. Whatever is visible follows from spans.

An entry adds an item ("memory.add", or a message), says it anew ("memory.update") or takes it back ("memory.delete"). Nothing is
changed in place: a later entry hides what an earlier one has made, as long as it counts itself. So a revert, which takes an
entry out of the spans, brings back what that had hidden, and nobody has to be told.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from sessile_memory.items import MESSAGE, Evidence, Item, hash_of
from sessile_retrieval import Database, Embedder, Found, Index, Passage, Span

ADD, UPDATE, DELETE = "memory.add", "memory.update", "memory.delete"
_TABLES = """
CREATE TABLE IF NOT EXISTS items (passage INTEGER PRIMARY KEY, id TEXT NOT NULL, owner TEXT NOT NULL, kind TEXT NOT NULL,
    origin TEXT NOT NULL, time REAL NOT NULL, metadata TEXT NOT NULL, quality REAL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    hash TEXT NOT NULL, same TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS items_id ON items (id);
CREATE INDEX IF NOT EXISTS items_same ON items (same);
CREATE TABLE IF NOT EXISTS hidden (owner TEXT NOT NULL, source TEXT NOT NULL, place INTEGER NOT NULL, item TEXT NOT NULL,
    time REAL NOT NULL, deleted INTEGER NOT NULL, PRIMARY KEY (owner, source, place))
"""


class Row(NamedTuple):
    """An entry that makes or hides items. source, place: its log and position."""

    source: str
    place: int
    kind: str
    body: Mapping[str, Any]
    time: float
    speaker: str = ""


class MemoryTable:
    """See the module's text. embedder: None finds by words only."""

    def __init__(self, database: Database, embedder: Embedder | None) -> None:
        self.database = database
        self.index = Index(database, embedder)
        with database.writing() as db:
            for statement in _TABLES.split(";"):
                db.execute(statement)

    # -- entries in

    def apply(self, owner: str, rows: Iterable[Row]) -> None:
        """Take entries in, in their order. One that is there already is left alone."""
        with self.database.writing() as db:
            for row in rows:
                if row.kind == DELETE:
                    self._hide(db, owner, row)
                elif row.kind in (ADD, UPDATE, MESSAGE) and not self._is_there(db, owner, row):
                    if row.kind == UPDATE:
                        self._hide(db, owner, row)
                    self._put(db, owner, row)

    def _is_there(self, db: sqlite3.Connection, owner: str, row: Row) -> bool:
        sql = "SELECT 1 FROM passages WHERE (owner, source, place) = (?, ?, ?)"
        return db.execute(sql, (owner, row.source, row.place)).fetchone() is not None

    def _put(self, db: sqlite3.Connection, owner: str, row: Row) -> None:
        body, text = row.body, str(row.body["text"])
        alone = row.kind != MESSAGE  # what was added by hand does not continue what stands before it
        (passage,) = self.index.add(
            [Passage(owner, row.source, row.place, text, row.speaker, body.get("keys", ""), row.time, alone)]
        )
        values = (passage, str(body["id"]), owner, body["kind"], body["origin"], row.time, json.dumps(body.get("metadata") or {}))
        sql = f"INSERT INTO items VALUES ({', '.join('?' * 12)})"
        db.execute(sql, (*values, body.get("quality"), 0, len(text), hash_of(text), same(text)))

    def _hide(self, db: sqlite3.Connection, owner: str, row: Row) -> None:
        values = (owner, row.source, row.place, str(row.body["id"]), row.time, row.kind == DELETE)
        db.execute("INSERT OR IGNORE INTO hidden VALUES (?, ?, ?, ?, ?, ?)", values)

    def forget(self, owner: str, sources: Collection[str] | None = None) -> int:
        """Take out all that an owner's sources have made (None: all of them); how many items that were."""
        with self.database.writing() as db:
            sql = "SELECT id, source FROM passages WHERE owner = ?"
            gone = [row for row, source in db.execute(sql, (owner,)).fetchall() if sources is None or source in sources]
            db.executemany("DELETE FROM items WHERE passage = ?", [(row,) for row in gone])
            if sources is None:
                db.execute("DELETE FROM hidden WHERE owner = ?", (owner,))
            else:
                db.executemany("DELETE FROM hidden WHERE owner = ? AND source = ?", [(owner, source) for source in sources])
            return self.index.remove(gone)

    # -- items out

    def search(
        self,
        owner: str,
        query: str,
        limit: int,
        spans: Sequence[Span],
        among: Collection[int] | None = None,
        near: float | None = None,
        at: float | None = None,
    ) -> list[Found]:
        """What is visible within these spans, best first. at: what was, by then."""
        hidden = self.hidden(owner, spans, at)
        return self.index.search(owner, query, limit=limit, within=spans, among=among, but=hidden, near=near)

    def hidden(self, owner: str, spans: Sequence[Span], at: float | None = None) -> set[int]:
        """The passages that entries within these spans have hidden. at: by then.

        In its own log an entry hides what stands before it. In another log, which may be taken in before or after, an update
        hides what is older (a copy of it is as old), and a deletion whatever the item says there.
        """
        with self.database.reading() as db:
            sql = (
                "SELECT h.source, h.place, i.passage FROM hidden h JOIN items i ON i.id = h.item AND i.owner = h.owner "
                "JOIN passages p ON p.id = i.passage WHERE h.owner = ? AND (? IS NULL OR h.time <= ?) AND CASE "
                "WHEN p.source = h.source THEN p.place < h.place ELSE h.deleted OR i.time < h.time END"
            )
            within = _Places(spans)
            return {passage for source, place, passage in db.execute(sql, (owner, at, at)) if within.have(source, place)}

    def rows(self, owner: str, where: str = "", values: Sequence[Any] = ()) -> list[tuple[int, str, int, Item]]:
        """(passage, source, place, item) of an owner's items, oldest first. where: a condition in SQL."""
        sql = (  # the plus: by the condition's index, not through all that an owner has
            "SELECT i.passage, p.source, p.place, i.id, p.text, i.kind, i.origin, i.time, i.metadata, i.quality, i.start, "
            f"i.stop, i.hash FROM items i JOIN passages p ON p.id = i.passage WHERE +i.owner = ? {where} ORDER BY i.passage"
        )
        with self.database.reading() as db:
            found = db.execute(sql, (owner, *values)).fetchall()
        rows = []
        for passage, source, place, made, text, kind, origin, time, metadata, quality, start, stop, hashed in found:
            evidence = Evidence("", source, place, start, stop, hashed)
            item = Item(made, text, kind, owner, origin, time, json.loads(metadata), quality, evidence)
            rows.append((passage, source, place, item))
        return rows

    def visible(
        self, owner: str, spans: Sequence[Span], where: str = "", values: Sequence[Any] = (), *, at: float | None = None
    ) -> list[tuple[int, Item]]:
        """(passage, item) of what is visible within these spans, oldest first. at: what was, by then."""
        hidden = self.hidden(owner, spans, at)
        return [(row, item) for row, item in self.ever(owner, spans, where, values) if row not in hidden]

    def ever(self, owner: str, spans: Sequence[Span], where: str = "", values: Sequence[Any] = ()) -> list[tuple[int, Item]]:
        """As `visible`, with what was hidden since."""
        within = _Places(spans)
        return [(row, item) for row, source, place, item in self.rows(owner, where, values) if within.have(source, place)]

    def next_place(self, owner: str, source: str) -> int:
        """The place behind all that a source has."""
        sql = " UNION ALL ".join(
            f"SELECT max(place) FROM {table} WHERE owner = ? AND source = ?" for table in ("passages", "hidden")
        )
        with self.database.reading() as db:
            return 1 + max(place if place is not None else -1 for (place,) in db.execute(sql, (owner, source) * 2))


def same(text: str) -> str:
    """What texts have in common that are the same but for case and white space."""
    return hash_of(" ".join(text.casefold().split()))


class _Places:
    """The places that spans have."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._parts: dict[str, list[Span]] = {}
        for span in spans:
            self._parts.setdefault(span.source, []).append(span)

    def have(self, source: str, place: int) -> bool:
        parts = self._parts.get(source, ())
        return any(part.start <= place and (part.stop is None or place < part.stop) for part in parts)
