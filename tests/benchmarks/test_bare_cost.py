"""What sessile's embedded stores cost, as ratios to messages in one bare table of SQLite in the same run (see `floor.Bare`).

The handle is kept for appends, and is new for reads. Printed as in `test_cost.py`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessile import Session
from sessile.drive.faces import run
from sessile.log.entries import MESSAGE
from sessile.log.ids import new_id
from sessile.log.stamping import Change, Draft
from tests.benchmarks.floor import TEXT, Bare
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)

URLS = {"sqlite": "sqlite:///{}/x.db", "file": "file://{}/sessions"}
PAIR = (("user", TEXT), ("assistant", TEXT))


@pytest.fixture
def bare(tmp_path: Path) -> Bare:
    return Bare(tmp_path / "bare.db")


@pytest.mark.parametrize("length", [1000, 10_000])
@pytest.mark.parametrize(("kind", "limits"), [("sqlite", (1.5, 1.4)), ("file", (1.8, 1.8))])
def test_appending_a_pair(kind: str, limits: tuple[float, float], length: int, bare: Bare, tmp_path: Path) -> None:
    session = Session("s", store=URLS[kind].format(tmp_path))
    session.add_messages(PAIR * (length // 2))
    bare.append(*[TEXT] * length)
    for _ in range(500):  # until the WAL has its size
        session.add_messages(PAIR)
        bare.append(TEXT, TEXT)
    ours, hand = medians(1500, lambda: session.add_messages(PAIR), lambda: bare.append(TEXT, TEXT))
    report(f"append of a pair at {length:,}, {kind}", ours / hand, limits[length > 1000], microseconds(ours, hand))


@pytest.mark.parametrize(("kind", "limits"), [("sqlite", (1.2, 2.0, 1.8)), ("file", (2.0, 2.0, 4.0))])
def test_reads(kind: str, limits: tuple[float, float, float], bare: Bare, tmp_path: Path) -> None:
    url = URLS[kind].format(tmp_path)
    with Session("plain", store=url) as session:
        session.add_messages(PAIR * 5000)
    _chatted(url, 5000)
    bare.append(*[TEXT] * 10_000)

    def whole(name: str) -> list[Any]:
        return Session(name, store=url).get_history()

    assert len(whole("plain")) == len(whole("turns")) == len(bare.whole()) == 10_000
    plain, turns, hand = medians(31, lambda: whole("plain"), lambda: whole("turns"), bare.whole)
    report(f"whole read of 10,000, {kind}", plain / hand, limits[0], microseconds(plain, hand))
    report(f"… in turns, {kind}", turns / hand, limits[1], microseconds(turns, hand))
    last, hand = medians(500, lambda: Session("plain", store=url).get_history(50), lambda: bare.last(50))
    report(f"last 50 of 10,000, {kind}", last / hand, limits[2], microseconds(last, hand))


def _chatted(url: str, turns: int) -> None:
    """A session of turns, as `chat` stores them, but many in one commit."""
    with Session("turns", store=url) as session:
        for _ in range(turns // 1000):
            drafts: list[Draft] = []
            for _ in range(1000):
                asked = new_id()
                drafts.append(Draft(MESSAGE, {"role": "user", "content": TEXT}, id=asked, turn=asked))
                drafts.append(Draft(MESSAGE, {"role": "assistant", "content": TEXT}, turn=asked))
            run(session._handle.commit(lambda _, drafts=drafts: Change(drafts)))  # type: ignore[misc]


@pytest.mark.parametrize("kind", URLS)
@pytest.mark.parametrize(("size", "limit"), [(216, 420.0), (2000, 2600.0)])
def test_bytes_of_a_message(kind: str, size: int, limit: float, tmp_path: Path) -> None:
    with Session("s", store=URLS[kind].format(tmp_path)) as session:
        for _ in range(20):
            session.add_messages([("user", f"{TEXT * 10}"[:size])] * 100)
        for _ in range(1000):
            session.add_message("user", f"{TEXT * 10}"[:size])
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "x.db")) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    total = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    report(f"bytes of a message of {size:,} characters, {kind}", total / 3000, limit)
