"""What many idle watchers cost those who say something, through the same small pool of a MongoDB store."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from sessile import Session
from sessile.store.opening import open_store
from tests.benchmarks.floor import TEXT
from tests.benchmarks.test_cost import _report, microseconds, report  # noqa: F401  (a fixture)

WATCHERS = 200


def test_an_append_beside_200_watchers(mongodb_server: Any) -> None:
    with closing(open_store(f"{mongodb_server.url()}?pool_size=4")) as store, Session("s", store=store) as session:
        alone = _append(session)
        watchers = [Session(f"w{number}", store=store) for number in range(WATCHERS)]
        threads = [threading.Thread(target=_listen, args=(watcher.watch(),)) for watcher in watchers]
        for thread in threads:
            thread.start()
        beside = _append(session)
        for watcher in watchers:
            watcher.close()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    report("append beside 200 watchers : alone, mongodb", beside / alone, 3.0, microseconds(beside, alone))


def _append(session: Session) -> float:
    """Median seconds of an append, over some seconds."""
    taken, end = [], time.perf_counter() + 4
    while time.perf_counter() < end:
        begin = time.perf_counter()
        session.add_message("user", TEXT)
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


def _listen(messages: Iterator[Any]) -> None:
    assert list(messages) == []
