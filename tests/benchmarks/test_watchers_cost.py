"""What telling those who watch costs: appends go on at their speed, and side by side where nobody watches."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from sessile import Session
from sessile.store.opening import open_store
from tests.benchmarks.floor import TEXT
from tests.benchmarks.server_floors import PostgresFloor
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)


@pytest.mark.parametrize("kind", ["postgres"])
def test_200_watch_and_one_says_something(kind: str, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue(f"{kind}_server").url() + "?pool_size=4"
    with closing(open_store(url)) as watched, closing(open_store(url)) as unwatched:
        idle = [Session(f"idle{number}", store=watched) for number in range(200)]
        threads = [threading.Thread(target=deque, args=(session.watch(), 0)) for session in idle]  # until it is closed
        for thread in threads:
            thread.start()
        sessions = [Session(name, store=store) for name, store in (("s", watched), ("t", unwatched))]
        for session in sessions:
            session.add_message("user", TEXT)
        ours, alone = medians(400, *(lambda session=session: session.add_message("user", TEXT) for session in sessions))
        for session in idle:
            session.close()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
    report(f"append beside 200 who watch : beside none, {kind}", ours / alone, 1.3, microseconds(ours, alone))


def test_16_write_side_by_side(request: pytest.FixtureRequest) -> None:
    """Their commits are on disk together, as those of 16 connections by hand; a NOTIFY in each would put them in a row."""
    url = request.getfixturevalue("postgres_server").url()
    with closing(open_store(url)) as store, ThreadPoolExecutor(16) as threads:
        sessions = [Session(f"s{number}", store=store) for number in range(16)]
        floors = [PostgresFloor(url, f"f{number}") for number in range(16)]

        def append(session: Session) -> None:
            session.add_message("user", TEXT)

        def append_by_hand(floor: PostgresFloor) -> None:
            floor.append()

        list(threads.map(append, sessions))
        ours, hand = medians(100, lambda: list(threads.map(append, sessions)), lambda: list(threads.map(append_by_hand, floors)))
        for floor in floors:
            floor.close()
    report("16 appends at once : by hand at once, postgres", ours / hand, 1.5, microseconds(ours, hand))
