"""What plugins are asked once, whoever speaks first: other turns wait for it; and what an agent resumes with is stored once."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from tests.faces import FACES, opener
from tests.stores import url_of

from sessile import Agent, MemorySessionStore, Session
from sessile.errors import PluginError
from sessile.testing.limits import at_once


class Resuming:
    """An adapter that has the conversation of before, and takes its time to read it."""

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.asked: list[str] = []
        self.meanwhile = meanwhile

    def on_agent_start(self) -> list[tuple[str, str]]:
        self.asked.append("on_agent_start")
        threading.Event().wait(0.02)
        self.meanwhile()
        return [("user", "from before"), ("assistant", "yes")]

    def middleware(self) -> list[Any]:
        self.asked.append("middleware")
        threading.Event().wait(0.02)
        return []


def contents(session: Session) -> list[Any]:
    return [said.content for said in session.messages]


def test_chats_at_once_wait_for_what_comes_first() -> None:
    plugin = Resuming()
    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"), plugins=[plugin])
    at_once(*[lambda: session.chat("x") for _ in range(4)])
    assert contents(session) == ["from before", "yes", *["x"] * 8]
    assert sorted(plugin.asked) == ["middleware", "on_agent_start"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_is_resumed_is_not_stored_behind_what_others_said(when: str) -> None:
    store = MemorySessionStore()
    other = Session("s", store=store, agent=Agent(model="echo"))

    def begin() -> None:
        other.chat("theirs")

    session = Session(
        "s", store=store, agent=Agent(model="echo"), plugins=[Resuming(begin if when == "meanwhile" else lambda: None)]
    )
    if when == "before":
        begin()
    session.chat("mine")
    assert contents(session) == ["theirs", "theirs", "mine", "mine"]


def test_a_start_that_failed_is_tried_again_by_the_next_turn() -> None:
    class Failing(Resuming):
        def on_agent_start(self) -> Any:
            super().on_agent_start()
            if len(self.asked) == 1:
                raise RuntimeError("down")
            return [("user", "from before")]

    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"), plugins=[Failing()], strict=True)
    with pytest.raises(Exception, match="down"):
        session.chat("x")
    session.chat("x")
    assert contents(session) == ["from before", "x", "x"]


def test_a_plugin_that_speaks_as_it_starts_waits_for_nobody() -> None:
    class Speaking:
        def on_agent_start(self, session: Any) -> None:
            session.chat("said as it starts")

        def middleware(self, session: Any) -> list[Any]:
            return []

    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"), plugins=[Speaking()])
    session.chat("x")
    assert contents(session) == [*["said as it starts"] * 2, "x", "x"]


@pytest.mark.parametrize("face", FACES)
def test_a_session_is_let_go_of_once_whatever_its_hooks_do(face: str) -> None:
    calls: list[str] = []
    released: list[str] = []

    class Closing:
        def on_session_close(self, session: Any) -> None:
            calls.append(session.session_id)
            session.close()
            raise RuntimeError("down")

    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=MemorySessionStore(), plugins=[Closing()], strict=True)
    session._handle.release = lambda: released.append("store")
    with pytest.raises(PluginError, match="down"):
        session.close()
    session.close()
    assert (calls, released, session.closed) == (["s"], ["store"], True)
    loop.close()


def test_threads_close_a_session_once() -> None:
    plugin = Closes()
    session = Session("s", store=MemorySessionStore(), plugins=[plugin])
    at_once(*[session.close] * 4)
    assert plugin.calls == 1


class Closes:
    calls = 0

    def on_session_close(self) -> None:
        self.calls += 1
        threading.Event().wait(0.02)


def test_threads_that_begin_with_no_agent_speak_with_one() -> None:
    for _ in range(20):
        session = Session("s", store=MemorySessionStore())
        found: list[Any] = []
        at_once(*[lambda session=session, found=found: found.append(session.agent) for _ in range(4)])
        assert len({*map(id, found)}) == 1


def test_a_hook_that_waits_for_a_thread_that_speaks_is_told_so() -> None:
    class Threaded:
        def on_agent_start(self, session: Any) -> None:
            with ThreadPoolExecutor(1) as threads:
                threads.submit(session.chat, "in a thread").result()

    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"), plugins=[Threaded()], timeout=0.1, strict=True)
    with pytest.raises(PluginError, match="does a hook wait for a thread that speaks in the session"):
        session.chat("x")


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_wait_for_what_a_thread_of_its_parent_does(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()
    parent = os.getpid()

    class Slow:
        def on_agent_start(self) -> None:
            if os.getpid() == parent:
                begun.set()
                assert go_on.wait(60)

    session = Session("s", store=url_of("file", tmp_path), agent=Agent(model="echo"), plugins=[Slow()], timeout=5)
    speaking = threading.Thread(target=session.chat, args=("parent",))
    speaking.start()
    assert begun.wait(60)
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    child = context.Process(target=lambda: done.put(session.chat("child")))
    child.start()
    assert done.get(timeout=60) == "child"
    child.join()
    go_on.set()
    speaking.join()
    assert [said.content for said in session.messages] == ["child", "child", "parent", "parent"]
