"""What a store promises when much happens at once: state machines, races, many processes, kill -9, long logs."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from sessile.errors import Conflict, SessionNotFound
from sessile.session import Session
from sessile.testing.driving import processes
from sessile.testing.driving.graph_machine import GraphMachine
from sessile.testing.driving.machine import StoreMachine
from sessile.testing.fixtures import StoreFixtures, born, capability, commit, say
from sessile.testing.limits import at_once

_PHASES = (Phase.explicit, Phase.reuse, Phase.generate)  # the first example that fails is shown: making it smaller takes minutes


def _run_machine(machine: Any, open_store: Callable[[], Any], examples: int) -> None:
    run_state_machine_as_test(
        lambda: machine(open_store),  # type: ignore[arg-type]
        settings=settings(
            max_examples=examples,
            stateful_step_count=20,
            phases=_PHASES,
            deadline=None,  # of a step: the test has one
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )


class TogetherTests(StoreFixtures):
    """The heavy ones; `--full` runs them with more repetitions."""

    @capability("commit")
    def test_a_reader_beside_a_writer_sees_no_header_without_its_entries(self, open_driven: Callable[[], Any]) -> None:
        writer, reader = open_driven(), open_driven()
        names = [f"s{number}" for number in range(10)]
        over = threading.Event()

        def write() -> None:
            try:
                for name in names:
                    header = born(name)
                    for index in range(10):
                        header = commit(writer, header, say(f"{index}a"), say(f"{index}b"))
            finally:
                over.set()

        def read() -> None:
            while not over.is_set():
                for header in filter(None, map(reader.load, names)):
                    entries = reader.read(header.log, header.head - 2, header.head)
                    assert entries[-1].hash == header.hash

        at_once(write, read)

    @capability("state machine", patience=6)
    def test_behaves_like_the_memory_store(self, open_store: Callable[[], Any], in_full: bool) -> None:
        _run_machine(StoreMachine, open_store, 300 if in_full else 20)

    @capability("state machine", patience=6)
    def test_sessions_are_what_copies_would_be(self, open_store: Callable[[], Any], in_full: bool) -> None:
        _run_machine(GraphMachine, open_store, 200 if in_full else 10)  # each compares everything

    @capability("conflicts")
    def test_two_stale_handles_commit_at_the_same_instant(self, open_store: Callable[[], Any]) -> None:
        stores = open_store(), open_store()
        Session("s", store=stores[0]).add_message("user", "begin")
        for turn in range(20):
            said = self._race(stores, f"r{turn}", "rebase")
            assert said == ["done", "done"]
        with Session("s", store=stores[0]) as session:
            texts = [message.text for message in session.messages]
            assert sorted(texts[1:]) == sorted(f"r{turn}-{side}" for turn in range(20) for side in (0, 1))
            assert [text.split("-")[0] for text in texts[1:]] == [f"r{turn}" for turn in range(20) for _ in (0, 1)]
        for turn in range(20):
            assert sorted(self._race(stores, f"x{turn}", "raise")) == ["conflict", "done"]

    def _race(self, stores: tuple[Any, Any], text: str, on_conflict: Literal["rebase", "raise"]) -> list[str]:
        sessions = [Session("s", store=store, on_conflict=on_conflict) for store in stores]
        start = threading.Barrier(2)
        outcomes = ["", ""]

        def work(side: int) -> None:
            start.wait()
            try:
                sessions[side].add_message("user", f"{text}-{side}")
                outcomes[side] = "done"
            except Conflict:
                outcomes[side] = "conflict"

        at_once(lambda: work(0), lambda: work(1))
        return outcomes

    @capability("conflicts")
    def test_a_handle_of_a_deleted_session_does_not_bring_it_back(self, store: Any) -> None:
        session = Session("s", store=store.store)
        session.add_message("user", "x")
        store.delete("s", expected=store.load("s").version)
        with pytest.raises(SessionNotFound):
            session.add_message("user", "back?")
        assert store.load("s") is None

    @capability("many processes", patience=6)
    def test_many_processes_append_to_one_session(self, store_url: str, in_full: bool) -> None:
        writers, appends = (16, 250) if in_full else (4, 25)
        processes.many_writers(store_url, "s", writers, appends)

    @capability("many processes", patience=6)
    def test_processes_that_open_a_new_store_at_once_all_succeed(self, store_url: str) -> None:
        started = [processes.start_writer(store_url, f"s{number}", "n", 1) for number in range(4)]
        for process in started:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors

    @capability("kill -9", patience=6)
    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_killed_writer_leaves_whole_commits(self, store_url: str, batch: int, in_full: bool) -> None:
        rng = random.Random(batch)
        rounds = 100 if in_full else 3
        killed = [processes.kill_writer(store_url, f"k{number}", batch, rng) for number in range(rounds)]
        assert sum(killed) >= rounds

    @capability("flat cost", patience=3)
    def test_an_append_costs_the_same_in_a_long_log(self, store: Any, in_full: bool) -> None:
        length = 100_000 if in_full else 5_000
        short = Session("short", store=store.store)
        long = Session("long", store=store.store)
        for _ in range(length // 1000):
            long.add_messages([("user", "x" * 100)] * 1000)
        times: dict[str, list[float]] = {"short": [], "long": []}
        for _ in range(150):
            for session in (short, long):
                begin = time.perf_counter()
                session.add_message("user", "x" * 100)
                times[session.session_id].append(time.perf_counter() - begin)
        ratio = statistics.median(times["long"]) / statistics.median(times["short"])
        assert ratio < 2, f"an append to {length} messages took {ratio:.1f} times one to a new session"
        assert len(long.get_history(50)) == 50
