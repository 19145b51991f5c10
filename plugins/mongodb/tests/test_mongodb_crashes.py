"""Processes that end, or are overtaken, between any two steps of a commit, a delete or a prune."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import datetime, timedelta
from typing import Any

import pytest
from pymongo import monitoring

from sessile.errors import Conflict, Missing
from sessile.log.header import Header
from sessile.store.opening import open_store
from sessile.testing.fixtures import born, commit, say

LENGTH = 200  # entries: a bucket and a tail


class Cut(BaseException):
    """The process ends here, as it were."""


class Steps(monitoring.CommandListener):
    """Calls `before` with each command and collection ("update sessions"), before that is sent, as long as it returns True."""

    before: Callable[[str], bool] | None = None

    def started(self, event: monitoring.CommandStartedEvent) -> None:
        if (before := self.before) is not None:
            self.before = None  # not for what it sends itself
            if before(f"{event.command_name} {event.command[event.command_name]}"):
                self.before = before

    def succeeded(self, event: monitoring.CommandSucceededEvent) -> None:
        pass

    def failed(self, event: monitoring.CommandFailedEvent) -> None:
        pass


steps = Steps()
monitoring.register(steps)


def fill(store: Any, header: Header, until: int) -> Header:
    """Commit messages, each its position, fifty at a time."""
    for first in range(header.head, until, 50):
        header = commit(store, header, *(say(str(number)) for number in range(first, min(first + 50, until))))
    return header


def length(store: Any, log: str) -> int:
    """How many entries of a log can be read, where each range is whole or missing."""
    ends = [1, 10, 77, 78, 79, 100, 127, 128, 149, 150, 151, LENGTH - 1, LENGTH]
    there = [end for end in ends if _texts(store, log, 0, end) is not None]
    assert there == ends[: len(there)]
    for end in ends:
        assert (_texts(store, log, end - 1, end) is None) == (_texts(store, log, 0, end) is None), end
    return max(there, default=0)


def _texts(store: Any, log: str, start: int, stop: int) -> list[str] | None:
    try:
        texts = [entry.body["content"] for entry in store.read(log, start, stop)]
    except Missing:
        return None
    assert texts == [str(number) for number in range(start, stop)]
    return texts


def check_all_goes(store: Any, database: Any) -> None:
    """Once the session is deleted and its logs are pruned, nothing is left."""
    if (header := store.load("s")) is not None:
        store.delete("s", expected=header.version)
    for log in store.logs():
        store.prune(log, 0)
    store.check(repair=True)
    assert [*database["sessions"].find()] == [*database["sessions_buckets"].find()] == []


def lose(store: Any, header: Header) -> None:
    store.delete("s", expected=header.version)


ACTS: dict[str, tuple[int, Callable[[Any, Header], object], set[int]]] = {
    # how long the log is before, what is done, and how long it may be then
    "a commit": (150, lambda store, header: fill(store, header, LENGTH), {150, LENGTH}),
    "a delete": (LENGTH, lose, {LENGTH}),
    "a prune within the tail": (LENGTH, lambda store, header: store.prune(header.log, 150), {LENGTH, 150}),
    "a prune within a bucket": (LENGTH, lambda store, header: store.prune(header.log, 10), {LENGTH, 10}),
    "a prune of all": (LENGTH, lambda store, header: store.prune(header.log, 0), {LENGTH, 0}),
}


@pytest.mark.parametrize(
    ("what", "deleted"), [*((what, False) for what in ACTS), *((what, True) for what in ACTS if "prune" in what)]
)
def test_wherever_it_is_cut_short_a_range_is_whole_or_missing(url: str, database: Any, what: str, deleted: bool) -> None:
    before, act, lengths = ACTS[what]
    for call in range(20):
        with closing(open_store(url)) as store:
            header = fill(store, born("s"), before)
            if deleted:
                store.delete("s", expected=header.version)
                fill(store, born("s"), LENGTH)
            done = cut_at(call, lambda store=store, header=header: act(store, header))
        with closing(open_store(url)) as store:
            assert length(store, header.log) in lengths
            if (there := store.load("s")) is not None:
                assert "prune" in what or length(store, there.log) == there.head
            if there is None or there.log == header.log or "prune" in what:
                with suppress(Conflict):
                    act(store, there if there is not None and not deleted else header)
                assert length(store, header.log) == (LENGTH if what == "a commit" else min(lengths))
            check_all_goes(store, database)
        if done:
            break
    assert done
    assert call > 1


def cut_at(call: int, act: Callable[[], object]) -> bool:
    """Do something whose process ends before it sends a command. Returns whether it was done before that."""
    left = call

    def cut(step: str) -> bool:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut
        return True

    steps.before = cut
    try:
        act()
    except Cut:
        return False
    finally:
        steps.before = None
    return True


@pytest.mark.parametrize("dies", [False, True], ids=["lives", "dies"])
@pytest.mark.parametrize("keep", [0, 77])
def test_a_bucket_written_ahead_of_a_delete_goes(url: str, database: Any, keep: int, dies: bool) -> None:
    with closing(open_store(url)) as store, closing(open_store(url)) as other:
        header = fill(store, born("s"), 150)

        def overtake(step: str) -> bool:
            if step == "update sessions_buckets":
                other.delete("s", expected=header.version)
                other.prune(header.log, keep)
            if step == "update sessions" and dies:
                raise Cut
            return step != "update sessions"

        steps.before = overtake
        with pytest.raises(Cut if dies else Conflict):
            fill(store, header, LENGTH)
        assert length(other, header.log) == keep
        assert other.check()["index"] == ("1 logs of deleted sessions left" if dies else "complete")
        other.check(repair=True)
        assert length(other, header.log) == keep
        assert database["sessions_buckets"].count_documents({}) == 0
        check_all_goes(other, database)


def test_a_log_that_is_touched_while_it_gets_a_bucket_has_that_as_long(url: str, database: Any) -> None:
    with closing(open_store(f"{url}?ttl=86400")) as store, closing(open_store(url)) as other:
        header = fill(store, born("s"), 150)
        until = time.time() + 30 * 86400
        written: list[str] = []

        def touch(step: str) -> bool:
            if written and step == "update sessions":
                other.touch(header.log, until)
                return False
            written.extend([step] if step == "update sessions_buckets" else [])
            return True

        steps.before = touch
        fill(store, header, LENGTH)
        assert steps.before is None
        buckets = [*database["sessions_buckets"].find()]
        assert buckets
        until = database["sessions"].find_one({"_id": "s"})["tail"]["until"]
        assert all(bucket["expires_at"] >= datetime(1970, 1, 1) + timedelta(milliseconds=until) for bucket in buckets)


def test_who_reads_while_a_log_is_pruned_has_it_whole_or_not(url: str) -> None:
    with closing(open_store(url)) as store, closing(open_store(url)) as other:
        header = fill(store, born("s"), LENGTH)

        def prune(step: str) -> bool:
            if step != "find sessions_buckets":
                return True
            other.prune(header.log, 100)
            return False

        steps.before = prune
        with suppress(Missing):
            assert len(store.read(header.log, 0, LENGTH)) == LENGTH
        assert steps.before is None
        assert len(store.read(header.log, 0, 100)) == 100
