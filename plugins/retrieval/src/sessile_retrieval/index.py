"""The index: passages of text, added and taken out in the caller's transaction, found by words, meaning and neighbours."""

from __future__ import annotations

import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence

import attrs
import numpy as np

from sessile.errors import InvalidInput
from sessile.plugins import new_lock
from sessile.store import words
from sessile_retrieval.corpus import Corpus, Part, Span, State
from sessile_retrieval.database import Database
from sessile_retrieval.embedding import Embedder, check_embedder, vectors_of
from sessile_retrieval.ranking import WEIGHTS, Rows, Scores, Weights, combined, standardized
from sessile_retrieval.terms import terms_of, words_of, words_of_time

_TABLES = """
CREATE TABLE IF NOT EXISTS passages (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, source TEXT NOT NULL,
    place INTEGER NOT NULL, alone INTEGER NOT NULL, speaker TEXT NOT NULL, text TEXT NOT NULL, UNIQUE (owner, source, place));
CREATE INDEX IF NOT EXISTS passages_owner ON passages (owner, id);
CREATE TABLE IF NOT EXISTS owners (number INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL UNIQUE,
    removals INTEGER NOT NULL DEFAULT 0, last INTEGER NOT NULL DEFAULT 0, embedded INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS vectors (id INTEGER NOT NULL, model TEXT NOT NULL, vector BLOB NOT NULL, PRIMARY KEY (id, model));
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5 (owner, said, tokenize = 'porter ascii');
"""
logger = logging.getLogger("sessile")
_OWNERS = 64  # whose passages are kept in memory
_BATCH = 64  # texts that are embedded at once
_ERASES = sqlite3.sqlite_version_info >= (3, 42)  # what is deleted from a full-text table is gone from the file, too


@attrs.frozen
class Passage:
    """A text to be found.

    owner: whose it is; a search finds those of one owner only. source, place: what it is a part of, such as a log or a
    document, and where in it: those before and behind it are its neighbours. speaker: who says it. keys: more that it is found
    by. time: seconds since 1970 (UTC), which it is found by, too. alone: it is nobody's neighbour.
    """

    owner: str
    source: str
    place: int
    text: str
    speaker: str = ""
    keys: str = ""
    time: float | None = None
    alone: bool = False


@attrs.frozen
class Found:
    """A passage that a search has found. score: by which it is ranked. signals: what it is made of, as they were measured."""

    id: int
    score: float
    signals: dict[str, float] = attrs.field(repr=False)


class Index:
    """Passages in a database. embedder: None finds by words only. weights: of the ranking."""

    def __init__(self, database: Database, embedder: Embedder | None = None, weights: Weights = WEIGHTS) -> None:
        self.embedder = None if embedder is None else check_embedder(embedder)
        self._database = database
        self._weights = weights
        self._embedded = 0  # all passages up to this number have vectors, or are gone
        self._lock = new_lock()
        self._corpora: OrderedDict[str, Corpus] = OrderedDict()
        with database.writing() as db:
            make_tables(db)

    # -- changing

    def add(self, passages: Iterable[Passage]) -> list[int]:
        """Add passages; their numbers. One that stands at the place of another takes its place. Vectors come with `embed`."""
        with self._database.writing() as db:
            return [self._add(db, passage) for passage in passages]

    def _add(self, db: sqlite3.Connection, passage: Passage) -> int:
        at = (passage.owner, passage.source, passage.place)
        self.remove(row for (row,) in db.execute("SELECT id FROM passages WHERE (owner, source, place) = (?, ?, ?)", at))
        sql = "INSERT INTO passages (owner, source, place, alone, speaker, text) VALUES (?, ?, ?, ?, ?, ?)"
        row = db.execute(sql, (*at, passage.alone, passage.speaker, passage.text)).lastrowid or 0
        sql = "INSERT INTO owners (owner, last) VALUES (?, ?) ON CONFLICT DO UPDATE SET last = excluded.last RETURNING number"
        (number,) = db.execute(sql, (passage.owner, row)).fetchone()
        said = " ".join(filter(None, map(words_of, (passage.speaker, passage.text, passage.keys, words_of_time(passage.time)))))
        db.execute("INSERT INTO words (rowid, owner, said) VALUES (?, ?, ?)", (row, f"o{number}", said))
        return row

    def remove(self, ids: Iterable[int]) -> int:
        """Take passages out; how many there were."""
        gone = 0
        with self._database.writing() as db:
            for row in [*ids]:
                found = db.execute("DELETE FROM passages WHERE id = ? RETURNING owner", (row,)).fetchone()
                if found is not None:
                    db.execute("DELETE FROM words WHERE rowid = ?", (row,))
                    db.execute("DELETE FROM vectors WHERE id = ?", (row,))
                    db.execute("UPDATE owners SET removals = removals + 1 WHERE owner = ?", found)
                    gone += 1
        return gone

    def erase(self) -> None:
        """Let nothing of what was taken out be left in the file, outside of a transaction.

        Takes as long as the file is large before SQLite 3.42.
        """
        with self._database.reading() as db:
            if not _ERASES:
                db.execute("INSERT INTO words (words) VALUES ('optimize')")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # where nobody reads an older state

    # -- vectors

    def embed(self, limit: int | None = None) -> int:
        """Make vectors for at most so many passages that have none of this embedder; how many still have none.

        Raises what the embedder raises; what was embedded before that is kept.
        """
        if self.embedder is None:
            return 0
        while limit is None or limit > 0:
            size = _BATCH if limit is None else min(_BATCH, limit)
            with self._database.reading() as db:
                (last,) = db.execute("SELECT coalesce(max(id), 0) FROM passages").fetchone()
                sql = f"SELECT id, owner, text {_LACKING} ORDER BY id LIMIT ?"
                rows = db.execute(sql, (self._embedded, self.embedder.name, size)).fetchall()
            if not rows:
                self._embedded = last
                return 0
            self._store_vectors(rows, vectors_of(self.embedder, [text for _, _, text in rows]))
            limit = None if limit is None else limit - len(rows)
        return self.lacking()

    def _store_vectors(self, rows: Sequence[tuple[int, str, str]], vectors: Scores) -> None:
        assert self.embedder is not None
        with self._database.writing() as db:
            for (row, owner, text), vector in zip(rows, vectors.astype(np.float16), strict=True):
                # it may have been taken out, or embedded by another process, meanwhile
                sql = "INSERT OR IGNORE INTO vectors SELECT id, ?, ? FROM passages WHERE id = ? AND text = ?"
                if db.execute(sql, (self.embedder.name, vector.tobytes(), row, text)).rowcount:
                    db.execute("UPDATE owners SET embedded = embedded + 1 WHERE owner = ?", (owner,))

    def lacking(self) -> int:
        """How many passages have no vector of this embedder yet."""
        if self.embedder is None:
            return 0
        with self._database.reading() as db:
            (count,) = db.execute(f"SELECT count(*) {_LACKING}", (self._embedded, self.embedder.name)).fetchone()
        return int(count)

    # -- searching

    def search(
        self,
        owner: str,
        query: str,
        *,
        limit: int = 10,
        within: Iterable[Span] | None = None,
        among: Collection[int] | None = None,
        but: Collection[int] = (),
        near: float | None = None,
    ) -> list[Found]:
        """The passages of an owner that have to do with a query, best first.

        within: only those of these spans. among, but: only those of these numbers, and none of those. A passage is found by a
        word that it, or a neighbour, has in common with the query, or by its meaning: near is the least cosine (None: the
        embedder's own). `InvalidInput` for a query without a word.
        """
        found = self._measured(owner, query, within, among, but)
        if near is None:
            near = float(getattr(self.embedder, "near", 0.5))
        return [] if found is None else _ranked(*found, near, self._weights, limit)

    def signals(self, owner: str, query: str, ids: Sequence[int]) -> Scores:
        """The z-scores that the ranking adds up, for passages of these numbers: (passages, signals in the order of `Weights`)."""
        found = self._measured(owner, query, None, None, ())
        if found is None:
            raise InvalidInput(f"{owner!r} has no passages")
        part, signals = found
        _, rows = part.rows_of(np.asarray(ids))
        table = [np.zeros(len(part.ids), np.float32) if signal is None else standardized(signal) for signal in signals]
        return np.stack(table, axis=1)[rows]

    def _measured(
        self, owner: str, query: str, within: Iterable[Span] | None, among: Collection[int] | None, but: Collection[int]
    ) -> tuple[Part, list[Scores | None]] | None:
        """The passages that a search may find, and what is measured of them; None where there are none."""
        if not isinstance(query, str) or not words(query):
            raise InvalidInput(f"query is {query!r:.60}, in which there is no word to search for")
        asked = self._asked(query)
        with self._lock, self._database.reading() as db:
            corpus = self._corpus(owner)
            number = _follow(db, corpus)
            part = corpus.part(corpus.visible(within, among, but))
            if not len(part.ids):
                return None
            (last,) = db.execute("SELECT coalesce(max(id), 0) FROM passages").fetchone()
            # who has most of the passages is asked for by looking at all of them: others' are no rows of the part
            whose = "" if 4 * corpus.count > last else f'owner : "o{number}" AND '
            own, around = _word_scores(db, whose, terms_of(query), part)
        return part, _signals(part, own, around, asked, query)

    def _asked(self, query: str) -> Scores | None:
        """The query's vector; None where there is none: passages are found by their words then."""
        if self.embedder is None:
            return None
        try:
            found: Scores = vectors_of(self.embedder, [query], query=True)[0]
        except Exception as error:  # of the embedder, which may be a service that is down
            logger.warning("passages are found by their words only, as the embedder failed: %s", error)
            return None
        return found

    def _corpus(self, owner: str) -> Corpus:
        corpus = self._corpora.get(owner)
        if corpus is None:
            model, dimension = (self.embedder.name, self.embedder.dimension) if self.embedder else (None, 0)
            corpus = self._corpora[owner] = Corpus(owner, model, dimension)
        self._corpora.move_to_end(owner)
        while len(self._corpora) > _OWNERS:
            self._corpora.popitem(last=False)
        return corpus


_LACKING = "FROM passages p WHERE p.id > ? AND NOT EXISTS (SELECT 1 FROM vectors v WHERE v.id = p.id AND v.model = ?)"


def make_tables(db: sqlite3.Connection) -> None:
    """Make the tables, if they are not there."""
    if not db.execute("SELECT count(*) FROM sqlite_master WHERE name = 'words'").fetchone()[0]:
        for statement in _TABLES.split(";"):
            db.execute(statement)
        if _ERASES:
            db.execute("INSERT INTO words (words, rank) VALUES ('secure-delete', 1)")


def _follow(db: sqlite3.Connection, corpus: Corpus) -> int:
    """Let a corpus take in what changed; the owner's number."""
    sql = "SELECT number, removals, last, embedded FROM owners WHERE owner = ?"
    number, *state = db.execute(sql, (corpus.owner,)).fetchone() or (0, 0, 0, 0)
    corpus.follow(db, State(*state))
    return int(number)


def _word_scores(db: sqlite3.Connection, whose: str, terms: Iterable[str], part: Part) -> tuple[Scores, Scores]:
    """For each row: the BM25 score of its own words, and that of each term where it, or a neighbour, has it."""
    own, around = np.zeros(len(part.ids), np.float32), np.zeros(len(part.ids), np.float32)
    sql = "SELECT rowid, -bm25(words, 0.0, 1.0) FROM words WHERE words MATCH ?"
    for term in terms:
        found = np.array(db.execute(sql, (f'{whose}said : "{term}"',)).fetchall(), np.float64).reshape(-1, 2)
        there, rows = part.rows_of(found[:, 0].astype(np.int64))
        scores = found[there, 1].astype(np.float32)
        own[rows] += scores
        around += part.neighbours.best(rows, scores)
    return own, around


def _signals(part: Part, own: Scores, around: Scores, asked: Scores | None, query: str) -> list[Scores | None]:
    """What the ranking adds up, in the order of `Weights`; None for what there is not."""
    meaning = meaning_around = speaker = None
    if asked is not None:
        meaning = part.cosines(asked)
        known = np.where(part.embedded, meaning, meaning[part.embedded].mean() if part.embedded.any() else 0)
        meaning_around = part.neighbours.sum(known - known.mean())
    named = [index for index, name in enumerate(part.speakers) if name and _names(query, name)]
    if named:
        speaker = np.isin(part.speaker, named).astype(np.float32)
    return [own, around, meaning, meaning_around, speaker]


def _ranked(part: Part, signals: Sequence[Scores | None], near: float, weights: Weights, limit: int) -> list[Found]:
    _, around, meaning, _, _ = signals
    related = around > 0
    if meaning is not None:
        related |= meaning >= near
    score = combined(signals, weights)
    return [
        Found(
            int(part.ids[row]),
            float(score[row]),
            {
                name: float(values[row])
                for name, values in zip(Weights._fields, signals, strict=True)
                if values is not None and not np.isnan(values[row])
            },
        )
        for row in _best(np.flatnonzero(related), score, part.ids, limit)
    ]


def _best(rows: Rows, score: Scores, ids: Rows, limit: int) -> Rows:
    """The rows with the best scores, best first; of equal ones the older first."""
    if len(rows) > limit:
        least = np.partition(score[rows], -limit)[-limit]
        rows = rows[score[rows] >= least]
    return rows[np.lexsort((ids[rows], -score[rows]))][:limit]


def _names(query: str, name: str) -> bool:
    """Does a query say a name, or the first part of one?"""
    said = words(query)
    return any(part in said for part in words(name)[:1])
