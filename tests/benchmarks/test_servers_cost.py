"""What sessile costs on servers, as ratios to hand-written code on the same driver in the same run."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from sessile import Session, SessionManager
from sessile.log.header import Header
from sessile.log.stamping import Change, stamp
from sessile.store.opening import open_store
from tests.benchmarks.floor import TEXT
from tests.benchmarks.server_floors import MongoFloor, PostgresFloor, RedisFloor
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)

FLOORS = {"redis": RedisFloor, "postgres": PostgresFloor, "mongodb": MongoFloor}


@pytest.fixture(params=FLOORS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    return str(request.getfixturevalue(f"{kind}_server").url())


@pytest.fixture
def floor(kind: str, url: str) -> Any:
    made = FLOORS[kind](url)
    yield made
    made.close()


def test_an_append(kind: str, url: str, floor: Any) -> None:
    with Session("s", store=url, user_id="u") as session:
        ours, hand = medians(400, lambda: session.add_message("user", TEXT), floor.append)
    report(f"append, {kind} : by hand", ours / hand, 1.5, microseconds(ours, hand))


def test_the_last_50_of_10000(kind: str, url: str, floor: Any) -> None:
    for _ in range(120):
        floor.append()
    with Session("s", store=url) as session:
        for _ in range(10):
            session.add_messages([("user", TEXT)] * 1000)
        for _ in range(30):
            session.add_message("user", TEXT)

        def read() -> None:
            session._handle._past = None  # what it kept would make it no read at all
            assert len(session.get_history(50)) == 50

        ours, hand = medians(200, read, lambda: floor.last(50))
    report(f"last 50 of 10,000, {kind} : by hand", ours / hand, 2.0, microseconds(ours, hand))


def test_an_append_to_100000(kind: str, url: str) -> None:
    with Session("short", store=url) as short, Session("long", store=url) as long:
        for _ in range(100):
            long.add_messages([("user", TEXT)] * 1000)
        short.add_messages([("user", TEXT)] * 100)
        after, before = medians(300, lambda: long.add_message("user", TEXT), lambda: short.add_message("user", TEXT))
    report(f"append at 100,000 : at 100, {kind}", after / before, 1.2, microseconds(after, before))


def test_a_page_among_10000_sessions(kind: str, url: str, floor: Any) -> None:
    floor.fill_page(10_000)
    store = open_store(url)
    for number in range(10_000):
        header = Header(session_id=f"p{number}", log=f"log.p{number}", user_id="many")
        entries, changes = stamp(header, Change(), float(number + 1))
        store.commit(header.session_id, expected=0, entries=entries, changes=changes)
    with SessionManager(store) as manager:
        ours, hand = medians(60, lambda: manager.list(user_id="many", limit=50), lambda: floor.page(50))
        assert len(manager.list(user_id="many", limit=50).items) == 50
    store.close()
    report(f"50 of a user's sessions among 10,000, {kind} : by hand", ours / hand, 2.0, microseconds(ours, hand))


_CHATS = r"""
import asyncio, re, sys, time
from sessile import Agent, AsyncSession

class Slow:
    async def generate(self, request):
        await asyncio.sleep(1)
        return "done"

async def one(number):
    async with AsyncSession(f"c{number}", store=sys.argv[1], agent=Agent(model=Slow())) as session:
        return await session.chat("hello")

async def main():
    return await asyncio.gather(*map(one, range(1000)))

begin = time.perf_counter()
assert asyncio.run(main()) == ["done"] * 1000
seconds = time.perf_counter() - begin
with open("/proc/self/status") as status:  # getrusage would tell the most that the process before exec had, too
    print(seconds, int(re.search(r"VmHWM:\s*(\d+) kB", status.read())[1]) / 1024)
"""


def test_1000_conversations_at_once(kind: str, url: str) -> None:
    done = subprocess.run([sys.executable, "-c", _CHATS, url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split())
    report(f"seconds for 1,000 chats with a model of 1 s, {kind}", seconds, 5.0)
    report(f"… and MB in all, {kind}", megabytes, 300.0)
