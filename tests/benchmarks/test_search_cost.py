"""What a search costs, as ratios to a bare table of SQLite's FTS5 with the same texts in the same run.

1,000,000 messages under `--full`, else 20,000, where limits are wider: the fewer messages have the words, the more of the time is
to read and check the hits, which a bare table's rows are not. Printed as in `test_cost.py`.
"""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path

import pytest

from sessile import SessionManager
from tests.benchmarks.test_bare_cost import URLS
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)

WORDS = [f"w{number}" for number in range(20_000)]
ASKED = ("w0 w1", "w50", "w5", '"w0 w1"')  # the first words are the most frequent ones


def _texts(count: int) -> list[str]:
    """Texts of 16 words, which are as frequent as those of a language (Zipf)."""
    chance = random.Random(1)
    drawn = chance.choices(WORDS, [1 / (number + 1) for number in range(len(WORDS))], k=400_000)
    starts = (chance.randrange(len(drawn) - 16) for _ in range(count))
    return [" ".join(drawn[start : start + 16]) for start in starts]


@pytest.mark.parametrize("kind", URLS)
def test_searching(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    count = 1_000_000 if request.config.getoption("--full") else 20_000
    texts = _texts(count)
    with SessionManager(URLS[kind].format(tmp_path)) as manager:
        for start in range(0, count, 1000):
            user = f"user-{start // 100_000}"
            session = manager.get_session(user) or manager.create_session(user, session_id=user)
            session.add_messages([("user", text) for text in texts[start : start + 1000]])
        begin = time.perf_counter()
        assert len(manager.search("w0", limit=1)) == 1
        ours = time.perf_counter() - begin
        bare = sqlite3.connect(tmp_path / "bare.db", isolation_level=None)
        bare.execute("PRAGMA journal_mode = WAL")
        bare.execute("CREATE VIRTUAL TABLE said USING fts5 (text)")
        begin = time.perf_counter()
        for start in range(0, count, 1000):
            bare.execute("BEGIN")
            bare.executemany("INSERT INTO said VALUES (?)", [(text,) for text in texts[start : start + 1000]])
            bare.execute("COMMIT")
        hand = time.perf_counter() - begin
        report(f"indexing {count:,}, {kind}", ours / hand, 2.0 if count >= 1_000_000 else 3.0, microseconds(ours, hand))
        for asked in ASKED:
            _ask(manager, bare, asked, f"{kind}, {count:,}", 2.0 if count >= 1_000_000 else 10.0)
        bare.close()


def _ask(manager: SessionManager, bare: sqlite3.Connection, asked: str, where: str, limit: float) -> None:
    sql = "SELECT rowid, text FROM said WHERE said MATCH ? ORDER BY rank LIMIT 100"
    assert len(manager.search(asked, limit=100)) == len(bare.execute(sql, (asked,)).fetchall())
    ours, hand = medians(9, lambda: manager.search(asked, limit=100), lambda: bare.execute(sql, (asked,)).fetchall())
    report(f"100 hits of {asked}, {where}", ours / hand, limit, microseconds(ours, hand))
