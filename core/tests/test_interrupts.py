"""Ctrl-C in the middle of a call, and processes that are forked while a thread is in one: the next call is as any other."""

from __future__ import annotations

import json
import multiprocessing
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.stores import DURABLE, url_of

from sessile import MemorySessionStore, Session
from sessile.log.entries import Entry


class Interrupt(BaseException):
    """As KeyboardInterrupt, which pytest would take for its own."""


@pytest.fixture(params=[*DURABLE, "redis", "postgres", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param in DURABLE:
        return url_of(request.param, tmp_path)
    return str(request.getfixturevalue(f"{request.param}_server").url())


def test_what_is_acknowledged_after_an_interrupt_is_there(url: str) -> None:
    program = Path(__file__).with_name("interrupted_calls.py")
    done = subprocess.run([sys.executable, program, url], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    told, unknown = json.loads(done.stdout)
    with Session("s", store=url) as session:
        texts = [message.text for message in session.messages]
        assert session.verify()
    assert unknown, "no call was interrupted"
    assert {f"m{number}" for number in range(0, 150, 2)} <= {*told}, "the call after an interrupted one failed"
    assert {*told} <= {*texts} <= {*told, *unknown}
    assert len(texts) == len({*texts})


def test_a_memory_store_goes_on_behind_what_an_interrupt_left(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySessionStore()
    session = Session("s", store=store)
    session.add_message("user", "one")

    class Interrupted(dict[str, Any]):
        def __setitem__(self, key: str, value: Any) -> None:
            raise Interrupt

    headers = store._kept.headers  # as CPython may handle a signal between two statements
    store._kept.headers = Interrupted(headers)
    with pytest.raises(Interrupt):
        session.add_message("user", "two")
    store._kept.headers = headers
    session.add_message("user", "three")
    assert [message.text for message in Session("s", store=store).messages] == ["one", "three"]
    assert session.verify()


def _speaks(url: str, name: str, done: Any) -> None:
    with Session(name, store=url) as session:
        session.add_message("user", "from a child")
    done.put(name)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_child_that_is_forked_while_a_thread_commits_is_held_up_by_nothing(url: str) -> None:
    over = threading.Event()
    begun = threading.Barrier(3)
    threads = [threading.Thread(target=_keep_saying, args=(url, number, begun, over)) for number in range(2)]
    for thread in threads:
        thread.start()
    begun.wait(30)
    context = multiprocessing.get_context("fork")
    done = context.SimpleQueue()
    children = [context.Process(target=_speaks, args=(url, f"child {number}", done)) for number in range(8)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
    over.set()
    for thread in threads:
        thread.join(60)
    hanging = [child for child in children if child.exitcode is None]
    for child in hanging:
        child.kill()
    assert not hanging
    assert {child.exitcode for child in children} == {0}
    assert not any(thread.is_alive() for thread in threads)


def _keep_saying(url: str, number: int, begun: threading.Barrier, over: threading.Event) -> None:
    with Session(f"thread {number}", store=url) as session:
        session.add_message("user", "begin")
        begun.wait(30)
        while not over.is_set():
            session.add_message("user", "x")


def test_no_entry_waits_for_another_of_another_thread() -> None:
    inside, over = threading.Event(), threading.Event()

    class Slow(dict[str, str]):
        def items(self) -> Any:
            inside.set()
            over.wait(30)
            return super().items()

    slow, other = (Entry(position=0, kind="message", id="i", time=0.0, body=body) for body in (Slow(a="b"), {"a": "b"}))
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(lambda: slow.json)
        assert inside.wait(30)
        assert threads.submit(lambda: other.json).result(10)
        over.set()
        assert first.result(30) == other.json
