"""What a session as a graph costs: flat in the session's length. Printed as in `test_cost.py`."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from sessile import Session, SQLiteSessionStore
from tests.benchmarks.test_cost import _report, fill, medians, microseconds, report  # noqa: F401  (a fixture)


class Counting:
    """A store that counts what is asked of it."""

    def __init__(self, store: Any) -> None:
        self.store, self.entries, self.queries = store, 0, 0

    def commit(self, *args: Any, entries: Any, **kwargs: Any) -> None:
        self.entries += len(entries)
        self.store.commit(*args, entries=entries, **kwargs)

    def find(self, query: Any) -> Any:
        self.queries += 1
        return self.store.find(query)

    def load(self, *args: Any) -> Any:
        self.queries += 1
        return self.store.load(*args)

    def read(self, *args: Any) -> Any:
        self.queries += 1
        return self.store.read(*args)

    def delete(self, *args: Any, **kwargs: Any) -> None:
        self.store.delete(*args, **kwargs)

    def prune(self, *args: Any) -> None:
        self.store.prune(*args)

    def close(self) -> None:
        self.store.close()


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "file://{}/sessions"])
def test_points_in_a_long_log(tmp_path: Path, scheme: str) -> None:
    short, long = (Session(name, store=scheme.format(tmp_path)) for name in ("short", "long"))
    fill(long, 100_000)
    fill(short, 100)
    for session in (short, long):
        session.set_state("k", 1)
    points = {session: session.snapshot("here") for session in (short, long)}
    actions = {
        "snapshot": lambda session: session.snapshot("x"),
        "revert to a snapshot": lambda session: session.revert(points[session]),
        "fork": lambda session: session.fork(),
    }
    kind = scheme.partition(":")[0]
    for name, action in actions.items():
        ours, base = medians(150, lambda action=action: action(long), lambda action=action: action(short))
        report(f"{name} at 100,000 : at 100, {kind}", ours / base, 1.5, microseconds(ours, base))


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "file://{}/sessions"])
def test_deleting_what_ten_forks_inherit(tmp_path: Path, scheme: str) -> None:
    """Nothing is copied, so it does not matter how much they inherit."""
    url = scheme.format(tmp_path)
    seconds: dict[int, list[float]] = {100: [], 100_000: []}
    for number in range(5):
        for length, times in seconds.items():
            parent = Session(f"{length}-{number}", store=url)
            fill(parent, length)
            forks = [parent.fork() for _ in range(10)]
            begin = time.perf_counter()
            parent.delete()
            times.append(time.perf_counter() - begin)
            assert forks[-1].message_count == length
    ours, base = statistics.median(seconds[100_000]), statistics.median(seconds[100])
    kind = scheme.partition(":")[0]
    report(f"delete what 10 forks inherit, 100,000 : 100, {kind}", ours / base, 1.5, microseconds(ours, base))


@pytest.mark.parametrize("scheme", ["sqlite:///{}/x.db", "file://{}/sessions"])
def test_a_thousand_reverts(tmp_path: Path, scheme: str) -> None:
    """Add two, take one back: the thousandth time costs as much as the first, in time and in bytes."""
    session = Session("s", store=scheme.format(tmp_path))
    times: list[float] = []
    sizes: list[int] = []
    for _ in range(1000):
        begin = time.perf_counter()
        session.add_messages([("user", "x" * 100), ("assistant", "y" * 100)])
        session.revert(-1)
        times.append(time.perf_counter() - begin)
        sizes.append(sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()))
    assert session.message_count == 1000
    ours, base = statistics.median(times[-200:]), statistics.median(times[50:250])
    kind = scheme.partition(":")[0]
    report(f"add two, pop one: the last 200 rounds : the first, {kind}", ours / base, 1.2, microseconds(ours, base))
    report(f"KB a round of that, {kind}", sizes[-1] / 1000 / 1000, 6.0, f"{sizes[-1] / 1e6:.1f} MB in all")


def test_no_message_is_copied(tmp_path: Path) -> None:
    store = Counting(SQLiteSessionStore(tmp_path / "x.db"))
    session = Session("s", store=store)
    fill(session, 5000)
    for action, limit in ((session.snapshot, 1), (lambda: session.revert(10), 2), (session.fork, 1)):
        before = store.entries
        action()
        assert store.entries - before == limit


def test_reading_across_ten_forks(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    one = Session("one", store=url)
    fill(one, 55)
    forked = Session("forked", store=url)
    fill(forked, 5)
    for _ in range(10):
        forked = forked.fork()
        fill(forked, 5)

    def read(session_id: str) -> list[Any]:  # a new handle each time: nothing is kept from before
        messages: list[Any] = Session(session_id, store=url).get_history(50)
        return messages

    assert len(read("one")) == len(read(forked.session_id)) == 50
    ours, base = medians(500, lambda: read(forked.session_id), lambda: read("one"))
    report("50 messages across 10 forks : in one log", ours / base, 3.0, microseconds(ours, base))


def test_the_tree_of_a_thousand_forks(tmp_path: Path) -> None:
    store = Counting(SQLiteSessionStore(tmp_path / "x.db"))
    root = Session("root", store=store)
    root.add_message("user", "x")
    sessions = [root]
    for number in range(1000):
        sessions.append(sessions[number // 3].fork())
    store.queries = 0
    tree = sessions[-1].tree()
    assert _size(tree) == 1001
    report("queries for a tree of 1,000 forks", float(store.queries), 50.0)


def _size(node: dict[str, Any]) -> int:
    return 1 + sum(map(_size, node["children"]))
