"""What memories cost, as ratios: to a bare FTS5 query and a dot product over the same texts and vectors, and to a small memory.

100,000 memories under `--full`, else 10,000. Printed as in `test_cost.py`.
"""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sessile import Agent, Session
from sessile.testing import ScriptedModel
from sessile_memory import Memory
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)
from tests.benchmarks.test_search_cost import _texts

DIMENSION = 256
ASKED = ("w50 w300 w999", "w20 w50 w200", "w5 w30 w200 w1000 w4000")


class Drawn:
    """An embedder that draws its vectors: what is measured is what is done with them."""

    name, dimension, near = "drawn", DIMENSION, 0.9

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        return np.random.default_rng(len(texts)).normal(size=(len(texts), DIMENSION))


def _filled(path: Path, count: int, texts: Sequence[str]) -> Memory:
    memory = Memory(config={"db_path": path, "embedder": Drawn()})
    memory.table.apply(memory.user_id, (_row(place, text) for place, text in enumerate(texts[:count])))
    assert memory.embed() == 0
    return memory


def _row(place: int, text: str) -> Any:
    from sessile_memory.table import ADD, Row

    return Row("hand:", place, ADD, {"id": str(place), "text": text, "kind": "long-term", "origin": "hand"}, float(place))


def test_searching_and_adding(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count = 100_000 if request.config.getoption("--full") else 10_000
    texts = _texts(count)
    large, small = _filled(tmp_path / "large.db", count, texts), _filled(tmp_path / "small.db", 1000, texts)
    bare = sqlite3.connect(tmp_path / "bare.db")
    bare.execute("CREATE VIRTUAL TABLE said USING fts5 (text, tokenize = 'porter ascii')")
    bare.executemany("INSERT INTO said VALUES (?)", [(text,) for text in texts])
    bare.commit()
    vectors = np.random.default_rng(0).normal(size=(count, DIMENSION)).astype(np.float32)
    sql = "SELECT rowid, text FROM said WHERE said MATCH ? ORDER BY rank LIMIT 10"
    for asked in ASKED:
        words = " OR ".join(asked.split())

        def by_hand(words: str = words) -> None:
            bare.execute(sql, (words,)).fetchall()
            np.argpartition(vectors @ vectors[0], -10)

        ours, hand = medians(15, lambda asked=asked: large.search(asked), by_hand)
        report(f"search of {asked} in {count:,} memories : FTS5, numpy", ours / hand, 3.0, microseconds(ours, hand))
    numbers = iter(range(10**9))
    ours, base = medians(101, lambda: large.add(f"w1 w2 {next(numbers)}"), lambda: small.add(f"w1 w2 {next(numbers)}"))
    report(f"add to {count:,} memories : to 1,000", ours / base, 1.5, microseconds(ours, base))
    bare.close()


def test_recalling_in_a_turn(tmp_path: Path) -> None:
    memory = _filled(tmp_path / "a.db", 10_000, _texts(10_000))
    chance = random.Random(1)
    model = ScriptedModel(*["fine"] * 1000)
    with_it = Session("a", store="memory://", memory=memory, agent=Agent(model=model))
    without = Session("b", store="memory://", agent=Agent(model=model))

    def question() -> str:
        return f"w50 w300 w{chance.randrange(900, 999)}"

    turn, plain, search = medians(
        31, lambda: with_it.chat(question()), lambda: without.chat(question()), lambda: with_it.memory.search(question(), 30)
    )
    report("recall in a turn, 10,000 memories : search alone", (turn - plain) / search, 1.5, microseconds(turn - plain, search))
    memory.close()
