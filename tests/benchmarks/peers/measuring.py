"""Measures contestants side by side: they take turns, so that a machine whose speed drifts slows all of them."""

from __future__ import annotations

import gc
import os
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.peers.contestants import Contestant, Said

RUNS = 5
OWN = 1000  # up to this length each run has a session of its own: appending makes one longer
WARM = 500  # pairs said elsewhere in the same file before, so that a write-ahead log has its size …
SECONDS = 3.0  # … or for so long
TIMES = 30  # of a call in a run, which counts with their median, or a hundredth of the session's length, up to 100 …
ENOUGH = 1.0  # … or fewer, once they have taken so many seconds
WORDS = "the parcel that I was told about last week has not been seen by anybody here and nobody knows where it is ".split()


def message(number: int) -> Said:
    """The message of this number in every session: a role, and about 100 characters."""
    begin = number % len(WORDS)
    words = WORDS[begin:] + WORDS[:begin]
    return ("assistant" if number % 2 else "user"), f"{number}: {' '.join(words)}"


def messages(begin: int, end: int) -> list[Said]:
    return [message(number) for number in range(begin, end)]


class Result(NamedTuple):
    """Seconds and bytes: one value a run, for the ratio to the floor's in the same run; `size` has one."""

    append: list[float]
    last: list[float]
    cold_last: list[float]
    cold_whole: list[float]
    size: list[float]


class Measured:
    """One contestant on sessions of one length."""

    def __init__(self, contestant: Contestant, length: int, tell: Callable[[str], None]) -> None:
        self.contestant: Any = contestant
        self.sessions = [f"s{run}" for run in range(RUNS)] if length <= OWN else ["s"] * RUNS
        self.counts = dict.fromkeys(self.sessions, length)
        self.result = Result([], [], [], [], [])
        self.times = max(TIMES, min(length // 100, 100))
        tell(f"{contestant.title}: a session of {length:,}")
        self._do("open")
        for session in self.counts:
            self._do("fill", session, messages(0, length))
        self._do("close")
        self.contestant.do(self.contestant.open)
        self._warm_up()
        self.durability = self._do("durability")
        self.before = self._bytes(), sum(self.counts.values())

    def _do(self, name: str, *arguments: Any) -> Any:
        return self._timed(name, *arguments)[1]

    def _timed(self, name: str, *arguments: Any) -> tuple[float, Any]:
        return self.contestant.timed(lambda: getattr(self.contestant, name)(*arguments))

    def _warm_up(self) -> None:
        self._do("fill", "warm", messages(0, 2))
        end = time.monotonic() + SECONDS
        for number in range(WARM):
            if time.monotonic() > end:
                break
            self._do("append_pair", "warm", message(2 * number)[1], message(2 * number + 1)[1])

    def _append(self, session: str) -> float:
        count = self.counts[session]
        self.counts[session] += 2
        return self._timed("append_pair", session, message(count)[1], message(count + 1)[1])[0]

    def _check(self, session: str, found: list[Said], wanted: int) -> None:
        """What returns something else than what was said is not worth measuring. Of very many, 10,000 are looked at."""
        end = self.counts[session]
        looked_at = range(0, wanted, max(1, wanted // 10_000))
        same = len(found) == wanted and all(found[at] == message(end - wanted + at) for at in looked_at)
        assert same, f"{self.contestant.title} returned other messages: {found[-3:]}"

    def warm_run(self, run: int) -> None:
        """Append a pair and read the last 50, again and again, with a handle that is kept."""
        session = self.sessions[run]
        appends, reads = [], []
        self._append(session)  # makes the handle
        self._do("last", session, 50)
        while len(appends) < self.times and sum(appends + reads) < ENOUGH:
            appends.append(self._append(session))
            seconds, found = self._timed("last", session, 50)
            reads.append(seconds)
            self._check(session, found, 50)
        self.result.append.append(statistics.median(appends))
        self.result.last.append(statistics.median(reads))

    def weigh(self) -> None:
        """What the messages that were appended have added to the files."""
        count = sum(self.counts.values())
        self.result.size.append((self._bytes() - self.before[0]) / (count - self.before[1]))
        self._do("close")

    def _bytes(self) -> int:
        """The size of the files, without the write-ahead log, of which everything is in the database then."""
        files = [path for path in self.contestant.folder.rglob("*") if path.is_file()]
        for path in files:
            if path.suffix == ".db":
                with closing(sqlite3.connect(path)) as db:
                    busy, pages, moved = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                    assert not busy, path
                    assert pages == moved, path
        return sum(path.stat().st_size for path in files if not path.name.endswith(("-wal", "-shm")))

    def cold_run(self, run: int) -> None:
        """Read with a handle, and all beneath it, that is new each time."""
        session = self.sessions[run]
        self.result.cold_last.append(self._cold(session, 50, "last", session, 50))
        self.result.cold_whole.append(self._cold(session, self.counts[session], "whole", session))

    def _cold(self, session: str, wanted: int, name: str, *arguments: Any) -> float:
        taken: list[float] = []

        def first() -> Any:
            self.contestant.open()
            return getattr(self.contestant, name)(*arguments)

        while len(taken) < TIMES and sum(taken) < ENOUGH:
            seconds, found = self.contestant.timed(first)
            taken.append(seconds)
            self._check(session, found, wanted)
            self._do("close")
        return statistics.median(taken)


def measure(contestants: Sequence[Contestant], length: int, tell: Callable[[str], None] = lambda _: None) -> list[Measured]:
    """All contestants that go as far as this length."""
    there = [one for one in contestants if one.most is None or length <= one.most]
    measured = [Measured(one, length, tell) for one in there]
    with _nothing_else():
        for run in range(RUNS):
            tell(f"appending and reading, run {run + 1} of {RUNS}")
            for one in measured:
                one.warm_run(run)
        for one in measured:
            one.weigh()
        for run in range(RUNS):
            tell(f"reading with new handles, run {run + 1} of {RUNS}")
            for one in measured:
                one.cold_run(run)
    for one in there:
        one.end()
    return measured


@contextmanager
def _nothing_else() -> Iterator[None]:
    """A program has one of the frameworks loaded: here, the others' objects are not looked through for garbage."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def sync_time(folder: Path) -> float:
    """Median seconds of a write of 1,000 bytes to the end of a file and a sync: what the disk beneath all of them takes."""
    path, taken = folder / "sync", []
    with path.open("wb", buffering=0) as file:
        for _ in range(50):
            begin = time.perf_counter()
            file.write(b"x" * 1000)
            os.fsync(file.fileno())
            taken.append(time.perf_counter() - begin)
    path.unlink()
    return statistics.median(taken)
