"""An owner's passages in memory: who stands beside whom, and the vectors. Each search takes in what the file has new."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sessile_retrieval.embedding import Vectors
from sessile_retrieval.ranking import Neighbours, Rows

_NOBODY = -1


class Span(NamedTuple):
    """Passages of a source whose places are from `start` on and before `stop` (None: to the end)."""

    source: str
    start: int = 0
    stop: int | None = None


class State(NamedTuple):
    """What has changed of an owner's passages: how many were taken out, the last one's number, and how many have vectors."""

    removals: int
    last: int
    embedded: int


class Corpus:
    """The passages of an owner, as arrays; see the module's text."""

    def __init__(self, owner: str, model: str | None, dimension: int) -> None:
        self.owner, self.model = owner, model
        self._dimension = dimension
        self._state: State | None = None
        self._whole: Part | None = None  # of all rows, until something changes
        self._clear()

    def _clear(self) -> None:
        self.count = 0
        self._numbers: dict[str, int] = {}  # of the sources
        self._last: dict[int, int] = {}  # by source, its last row
        self._speakers: dict[str, int] = {}
        self._room(64)

    def _room(self, size: int) -> None:
        """Make all arrays that long."""
        old = self.count
        for name in ("_ids", "_source", "_place", "_before", "_behind", "_speaker"):
            made = np.full(size, _NOBODY, np.int64)
            if old:
                made[:old] = getattr(self, name)[:old]
            setattr(self, name, made)
        vectors = np.full((size if self.model else 0, self._dimension), np.nan, np.float32)
        if old and self.model:
            vectors[:old] = self._vectors[:old]
        self._vectors: Vectors = vectors

    # -- following the file

    def follow(self, db: sqlite3.Connection, state: State) -> None:
        """Take in what has changed since the last search."""
        if self._state == state:
            return
        self._whole = None
        if self._state is None or self._state.removals != state.removals or not self._added(db, self._state.last):
            self._clear()
            self._added(db, 0)
        if self.model and (self._state is None or self._state != state):
            self._embedded(db)
        self._state = state

    def _added(self, db: sqlite3.Connection, last: int) -> bool:
        """Take in the passages behind a number. False where one of them stands before another that is known."""
        sql = "SELECT id, source, place, alone, speaker FROM passages WHERE owner = ? AND id > ? ORDER BY source, place"
        for row, source, place, alone, speaker in db.execute(sql, (self.owner, last)):
            number = self._numbers.setdefault(source, len(self._numbers))
            before = _NOBODY if alone else self._last.get(number, _NOBODY)
            if before != _NOBODY and self._place[before] >= place:
                return False
            if self.count == len(self._ids):
                self._room(2 * self.count)
            here = self.count
            self._ids[here], self._source[here], self._place[here], self._before[here] = row, number, place, before
            self._speaker[here] = self._speakers.setdefault(speaker, len(self._speakers))
            if before != _NOBODY:
                self._behind[before] = here
            if not alone:
                self._last[number] = here
            self.count += 1
        return True

    def _embedded(self, db: sqlite3.Connection) -> None:
        lacking = {int(self._ids[row]): row for row in np.flatnonzero(np.isnan(self._vectors[: self.count, 0]))}
        if not lacking:
            return
        sql = "SELECT id, vector FROM vectors JOIN passages USING (id) WHERE owner = ? AND model = ? AND id >= ?"
        for found, vector in db.execute(sql, (self.owner, self.model, min(lacking))):
            if found in lacking:
                self._vectors[lacking[found]] = np.frombuffer(vector, np.float16)

    # -- what a search asks

    def visible(self, within: Iterable[Span] | None, among: Collection[int] | None, but: Collection[int]) -> Rows | None:
        """The rows of these spans whose passages are among these, but not these; None for all there are."""
        if within is None and among is None and not but:
            return None
        mask = np.zeros(self.count, bool) if within is not None else np.ones(self.count, bool)
        for source, start, stop in within or ():
            if (number := self._numbers.get(source)) is not None:
                place = self._place[: self.count]
                mask |= (self._source[: self.count] == number) & (place >= start) & (place < (2**62 if stop is None else stop))
        if among is not None:
            mask &= np.isin(self._ids[: self.count], np.fromiter(among, np.int64))
        if but:
            mask &= ~np.isin(self._ids[: self.count], np.fromiter(but, np.int64))
        return None if mask.all() else np.flatnonzero(mask)

    def part(self, rows: Rows | None) -> Part:
        """What a search needs of these rows; None: of all."""
        if rows is not None:
            return self._part(rows)
        self._whole = self._whole or self._part(np.arange(self.count))
        return self._whole

    def _part(self, chosen: Rows) -> Part:
        place = np.full(self.count + 1, len(chosen), np.int64)  # of a row among those that are chosen
        place[chosen] = np.arange(len(chosen))
        beside = [place[near[: self.count][chosen]] for near in (self._before, self._behind)]
        order = np.argsort(self._ids[: self.count][chosen], kind="stable")
        vectors = self._vectors[: self.count] if self.model else self._vectors
        return Part(
            ids=self._ids[: self.count][chosen],
            order=order,
            neighbours=Neighbours(*beside),
            vectors=vectors,
            chosen=chosen,
            embedded=~np.isnan(vectors[chosen, 0]) if self.model else np.zeros(len(chosen), bool),
            speakers=[*self._speakers],
            speaker=self._speaker[: self.count][chosen],
        )


class Part(NamedTuple):
    """The passages that a search may find, one a row.

    ids: their numbers. order: the rows in the order of their numbers. vectors: of all of the owner's passages, of which these are
    the `chosen` ones. embedded: which have a vector. speaker: of each row, the place in `speakers`.
    """

    ids: Rows
    order: Rows
    neighbours: Neighbours
    vectors: Vectors
    chosen: Rows
    embedded: NDArray[np.bool_]
    speakers: list[str]
    speaker: Rows

    def cosines(self, asked: Vectors) -> Vectors:
        """Of each row's vector to another one; NaN where there is none yet."""
        if 4 * len(self.chosen) < len(self.vectors):
            found: Vectors = self.vectors[self.chosen] @ asked
            return found
        every: Vectors = self.vectors @ asked  # without a copy of most of them
        return every if len(every) == len(self.chosen) else every[self.chosen]

    def rows_of(self, ids: Rows) -> tuple[Rows, Rows]:
        """(which of these ids there are, and their rows)."""
        if not len(self.ids):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        places = np.searchsorted(self.ids, ids, sorter=self.order).clip(max=len(self.ids) - 1)
        rows = self.order[places]
        there = np.flatnonzero(self.ids[rows] == ids)
        return there, rows[there]
