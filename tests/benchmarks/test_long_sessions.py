"""What a session costs when it is long: as much as a shorter one. 1,000,000 messages under `--full`, else 50,000.

Also what it costs to take messages back, round by round. Printed as in `test_cost.py`.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessile import Session
from tests.benchmarks.floor import TEXT, Bare
from tests.benchmarks.test_bare_cost import PAIR, URLS
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)


def _filled(name: str, url: str, length: int) -> Session:
    session = Session(name, store=url)
    for _ in range(length // 10_000):
        session.add_messages(PAIR * 5000)
    return session


@pytest.mark.parametrize("kind", URLS)
def test_a_longer_session_costs_as_much(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    length = 1_000_000 if request.config.getoption("--full") else 50_000
    url = URLS[kind].format(tmp_path)
    long, short = _filled("long", url, length), _filled("short", url, 10_000)
    points = {session: session.snapshot("here") for session in (long, short)}
    actions: dict[str, Callable[[Session], Any]] = {
        "append of a pair": lambda session: session.add_messages(PAIR),
        "snapshot": lambda session: session.snapshot("x"),
        "revert": lambda session: session.revert(points[session]),
        "fork": lambda session: session.fork(),
        "last 50, new handle": lambda session: Session(session.session_id, store=url).get_history(50),
    }
    for name, action in actions.items():
        ours, base = medians(300, lambda action=action: action(long), lambda action=action: action(short))
        report(f"{name} at {length:,} : at 10,000, {kind}", ours / base, 1.3, microseconds(ours, base))


@pytest.mark.parametrize("kind", URLS)
def test_taking_back_round_by_round(kind: str, tmp_path: Path) -> None:
    """Add two, take one back, a thousand times; beside it, a session to which the same is added."""
    popped, kept = (Session(name, store=URLS[kind].format(tmp_path / name)) for name in ("popped", "kept"))
    rounds: list[float] = []
    pops: list[float] = []
    appends: list[float] = []
    for _ in range(1000):
        begin = time.perf_counter()
        popped.add_messages(PAIR)
        middle = time.perf_counter()
        popped.pop()
        end = time.perf_counter()
        rounds.append(end - begin)
        pops.append(end - middle)
        kept.add_messages(PAIR)
        begin = time.perf_counter()
        kept.add_message("user", TEXT)
        appends.append(time.perf_counter() - begin)
        kept.pop()
    assert popped.message_count == 1000
    last, first = statistics.median(rounds[-200:]), statistics.median(rounds[50:250])
    report(f"add two, pop one: the last 200 rounds : the first, {kind}", last / first, 1.5, microseconds(last, first))
    pop, append = statistics.median(pops), statistics.median(appends)
    report(f"pop : append of one, {kind}", pop / append, 2.0, microseconds(pop, append))
    added = Session("added", store=URLS[kind].format(tmp_path / "added"))
    for _ in range(1000):
        added.add_messages(PAIR)
    sizes = [_size(tmp_path / name) for name in ("popped", "added")]
    report(f"bytes of 1,000 such rounds : of 2,000 appends, {kind}", sizes[0] / sizes[1], 2.0, f"{sizes[0] / 1e6:.1f} MB")


def _size(folder: Path) -> int:
    for path in folder.rglob("*.db"):
        with closing(sqlite3.connect(path)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("kind", URLS)
def test_verifying(kind: str, tmp_path: Path) -> None:
    """Beside reading the bare table and a hash of each row."""
    session, bare = _filled("s", URLS[kind].format(tmp_path), 20_000), Bare(tmp_path / "bare.db")
    bare.append(*[TEXT] * 20_000)
    assert session.verify()
    ours, hand = medians(15, session.verify, lambda: [hashlib.sha256(json.dumps(row).encode()) for row in bare.whole()])
    report(f"verify, {kind}", ours / hand, 2.0, f"{20_000 / ours:,.0f} entries a second")
