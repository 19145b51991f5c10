"""What sessile costs, as ratios to hand-written code on the same driver in the same run: `uv run pytest tests/benchmarks`.

The two sides of a ratio take turns, so that a machine whose speed drifts slows both; medians are compared.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session, SessionManager, SQLiteSessionStore
from sessile.log.header import Header
from sessile.log.stamping import Change, Draft, stamp
from sessile.store.opening import open_store
from tests.benchmarks.floor import TEXT, Floor

REPORT: list[str] = []


@pytest.fixture(scope="module", autouse=True)
def _report(request: pytest.FixtureRequest) -> Any:
    yield
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        print("\n\n" + "\n".join(REPORT))
    REPORT.clear()


@pytest.fixture
def floor(tmp_path: Path) -> Floor:
    made = Floor(tmp_path / "floor.db")
    made.create("s")
    return made


def medians(count: int, *actions: Callable[[], Any]) -> list[float]:
    """Median seconds of each action, run in turn `count` times."""
    times: list[list[float]] = [[] for _ in actions]
    for _ in range(count):
        for action, taken in zip(actions, times, strict=True):
            begin = time.perf_counter()
            action()
            taken.append(time.perf_counter() - begin)
    return [statistics.median(taken) for taken in times]


def report(name: str, value: float, limit: float, detail: str = "") -> None:
    REPORT.append(f"{name:52} {value:6.2f}   limit {limit:5.2f}   {detail}")
    assert value <= limit, REPORT[-1]


def microseconds(*seconds: float) -> str:
    return " / ".join(f"{s * 1e6:.0f}" for s in seconds) + " µs"


def test_append(floor: Floor, tmp_path: Path) -> None:
    session = Session("s", store=f"sqlite:///{tmp_path}/x.db")
    session.add_message("user", TEXT)
    ours, hand = medians(2000, lambda: session.add_message("user", TEXT), floor.append)
    report("append, SQLite : by hand", ours / hand, 1.5, microseconds(ours, hand))


def test_turn(floor: Floor, tmp_path: Path) -> None:
    class Nothing:
        def generate(self, request: Any) -> str:
            return TEXT

    session = Session("s", store=f"sqlite:///{tmp_path}/x.db", agent=Agent(model=Nothing()))
    session.chat(TEXT)

    def twice() -> None:
        floor.append()
        floor.append()

    ours, hand = medians(1000, lambda: session.chat(TEXT), twice)
    report("turn with a no-op model : two appends by hand", ours / hand, 1.5, microseconds(ours, hand))


def test_last_50(floor: Floor, tmp_path: Path) -> None:
    session = Session("s", store=f"sqlite:///{tmp_path}/x.db")
    for _ in range(10):
        session.add_messages([("user", TEXT)] * 1000)
    for _ in range(10_000):
        floor.append()
    assert len(session.get_history(50)) == len(floor.last(50)) == 50

    def first_look() -> list[Any]:
        session._handle._past = None  # what the handle kept of the past
        return session.get_history(50)

    ours, again, hand = medians(1000, first_look, lambda: session.get_history(50), lambda: floor.last(50))
    report("last 50 of 10,000 : SELECT and json.loads", ours / hand, 2.0, microseconds(ours, hand))
    report("… and again, nothing said meanwhile", again / hand, 2.0, microseconds(again, hand))


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "file://{}/sessions"])
def test_append_to_a_long_log(tmp_path: Path, scheme: str) -> None:
    short, long = (Session(name, store=scheme.format(tmp_path)) for name in ("short", "long"))
    fill(long, 100_000)
    fill(short, 100)
    ours, base = medians(1000, lambda: long.add_message("user", TEXT), lambda: short.add_message("user", TEXT))
    report(f"append at 100,000 : at 100, {scheme.partition(':')[0]}", ours / base, 1.2, microseconds(ours, base))


def fill(session: Session, count: int) -> None:
    for start in range(0, count, 1000):
        session.add_messages([("user", TEXT)] * min(1000, count - start))


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "file://{}/sessions"])
def test_memory_of_a_long_session(tmp_path: Path, scheme: str) -> None:
    url = scheme.format(tmp_path)
    fill(Session("long", store=url), 100_000)
    long, new = (_grown(url, name) / 1e6 for name in ("long", "new"))
    report(f"MB to chat in 100,000 messages, {scheme.partition(':')[0]}", long, 20.0, f"{new:.2f} MB in a new session")


def _grown(url: str, session_id: str) -> int:
    """Peak memory, in bytes, that a process allocates to open a session and chat in it, as tracemalloc counts it."""
    program = f"""
import tracemalloc
from sessile import Agent, Session
Session("warm", store={url!r}, agent=Agent(model="echo")).chat("x")
tracemalloc.start()
session = Session({session_id!r}, store={url!r}, agent=Agent(model="echo"))
for _ in range(5):
    session.chat("hello")
print(tracemalloc.get_traced_memory()[1])
"""
    return int(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)


def test_page_of_sessions(floor: Floor, tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/x.db")
    for number in range(10_000):
        user = f"u{number % 100}"
        header = Header(session_id=f"s{number}", log=f"log.s{number}", user_id=user)
        entries, changes = stamp(header, Change([Draft("message", {"role": "user", "content": "x"})]), float(number))
        store.commit(header.session_id, expected=0, entries=entries, changes=changes)
        floor.create(f"s{number}", user)
    manager = SessionManager(store)
    assert len(manager.list(user_id="u7", limit=50).items) == len(floor.page("u7", 50)) == 50
    ours, hand = medians(1000, lambda: manager.list(user_id="u7", limit=50), lambda: floor.page("u7", 50))
    report("50 of a user's sessions among 10,000 : SELECT", ours / hand, 2.0, microseconds(ours, hand))


def test_bytes_on_disk(floor: Floor, tmp_path: Path) -> None:
    for scheme in ("sqlite:///{}/x.db", "file://{}/sessions"):
        fill_one_by_one(Session("s", store=scheme.format(tmp_path)), 3000)
    for _ in range(3000):
        floor.append()
    for path in (tmp_path / "x.db", tmp_path / "floor.db"):
        SQLiteSessionStore(path).close() if path.name == "x.db" else floor.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database = tmp_path / "x.db"
    store = SQLiteSessionStore(database)
    store.load("s")
    assert store._connection.db is not None
    store._connection.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    hand = os.path.getsize(tmp_path / "floor.db")
    files = sum(path.stat().st_size for path in (tmp_path / "sessions" / "s").iterdir())
    report("bytes of 3,000 messages, SQLite : by hand", os.path.getsize(database) / hand, 1.5)
    report("bytes of 3,000 messages, file : SQLite by hand", files / hand, 1.5)


def fill_one_by_one(session: Session, count: int) -> None:
    for _ in range(count):
        session.add_message("user", TEXT)


def test_async_append(floor: Floor, tmp_path: Path) -> None:
    async def main() -> tuple[float, float]:
        session = AsyncSession("s", store=f"sqlite:///{tmp_path}/x.db")
        await session.add_message("user", TEXT)
        ours, hand = [], []
        for _ in range(1500):
            begin = time.perf_counter()
            await session.add_message("user", TEXT)
            middle = time.perf_counter()
            await asyncio.to_thread(floor.append)
            ours.append(middle - begin)
            hand.append(time.perf_counter() - middle)
        return statistics.median(ours), statistics.median(hand)

    ours, hand = asyncio.run(main())
    report("AsyncSession append : by hand in to_thread", ours / hand, 1.5, microseconds(ours, hand))


def test_a_session_with_a_plugin_of_its_own() -> None:
    class Counting:
        def on_user_message(self, content: Any) -> None: ...

    store = MemorySessionStore()
    plain, with_one = medians(1000, lambda: Session("s", store=store), lambda: Session("s", store=store, plugins=[Counting()]))
    report("Session(plugins=[one]) : Session()", with_one / plain, 5.0, microseconds(with_one, plain))


def test_import(tmp_path: Path) -> None:
    compiled = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path)}  # bytecode is kept, as it is for users, by the first run
    compiled.pop("PYTHONDONTWRITEBYTECODE", None)

    def run(statement: str) -> Callable[[], None]:
        return lambda: subprocess.run([sys.executable, "-c", statement], check=True, env=compiled) and None

    libraries = "import pluggy, attrs, cattrs, asyncio"
    ours, hand, nothing = medians(31, run("from sessile import Session, Agent"), run(libraries), run("pass"))
    detail = f"{(ours - nothing) * 1e3:.0f} / {(hand - nothing) * 1e3:.0f} ms"
    report("from sessile import Session, Agent : pluggy, attrs, …", (ours - nothing) / (hand - nothing), 1.4, detail)
