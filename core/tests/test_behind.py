"""`session.spawn`: work behind a session's turns, in order, which closing and the end of the process wait for."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session
from sessile.errors import Closed, InvalidInput


def session_with(**options: Any) -> Session:
    return Session("s", store=MemorySessionStore(), agent=Agent(model="echo"), **options)


def test_jobs_are_done_one_after_the_other_and_closing_waits() -> None:
    session, done = session_with(), []

    def job(number: int, *, seconds: float) -> None:
        time.sleep(seconds)
        done.append((number, threading.current_thread() is threading.main_thread()))

    async def awaited(number: int) -> None:
        await asyncio.sleep(0.01)
        done.append((number, False))

    session.spawn(job, 0, seconds=0.05)
    session.spawn(awaited, 1)
    session.spawn(job, 2, seconds=0)
    assert done == []
    session.close()
    assert done == [(0, False), (1, False), (2, False)]
    with pytest.raises(Closed):
        session.spawn(job, 3, seconds=0)


def test_what_a_job_raises_is_logged_and_the_next_is_done(caplog: pytest.LogCaptureFixture) -> None:
    session, done = session_with(), []

    def fails() -> None:
        raise ValueError("broken")

    session.spawn(fails)
    session.spawn(done.append, "next")
    session.close()
    assert done == ["next"]
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "fails, behind session 's', failed: ValueError: broken" in record.getMessage()


def test_closing_does_not_wait_for_ever(caplog: pytest.LogCaptureFixture) -> None:
    session, go, done = session_with(timeout=0.2), threading.Event(), []
    session.spawn(go.wait)
    session.spawn(done.append, "dropped")
    begin = time.monotonic()
    session.close()
    assert 0.1 < time.monotonic() - begin < 5
    assert "1 jobs were dropped" in caplog.text
    go.set()
    time.sleep(0.05)
    assert done == []


def test_a_job_may_speak_in_its_session_spawn_and_close_it() -> None:
    session, ended = session_with(), threading.Event()

    def first() -> None:
        session.add_message("user", "from behind")
        session.spawn(second)

    def second() -> None:
        session.close()
        ended.set()

    session.spawn(first)
    assert ended.wait(10)
    assert session.closed
    assert Session("s", store=session.store).message_count == 1


def test_in_an_event_loop_it_is_a_task() -> None:
    done: list[Any] = []

    async def job(number: int) -> None:
        await asyncio.sleep(0.01)
        done.append((number, asyncio.get_running_loop() is loop))

    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            session.spawn(job, 0)
            session.spawn(lambda: done.append((1, threading.current_thread() is threading.main_thread())))
            session.spawn(job, 2)
            await asyncio.sleep(0)
            assert done == []
        assert done == [(0, True), (1, False), (2, True)]
        with pytest.raises(Closed):
            session.spawn(job, 3)

    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    loop.close()
    with pytest.raises(InvalidInput, match="without an event loop"):
        AsyncSession("s", store=MemorySessionStore()).spawn(print)


@pytest.mark.parametrize("kind", ["blocking", "async"])
def test_hooks_of_either_kind_spawn_in_sessions_of_either_face(kind: str) -> None:
    done: list[str] = []

    class Blocking:
        def on_agent_message(self, session: Session, content: str) -> None:
            session.spawn(done.append, content)

    class Async:
        async def on_agent_message(self, session: AsyncSession, content: str) -> None:
            session.spawn(done.append, content)

    plugins = [Blocking() if kind == "blocking" else Async()]
    with session_with(plugins=plugins) as session:
        session.chat("one")

    async def main() -> None:
        async with AsyncSession("a", store=MemorySessionStore(), plugins=plugins, agent=Agent(model="echo")) as session:
            await session.chat("two")

    asyncio.run(main())
    assert done == ["one", "two"]


def test_a_task_that_is_cancelled_leaves_nothing_to_wait_for() -> None:
    async def main() -> float:
        session = AsyncSession("s", store=MemorySessionStore(), timeout=20)
        await session.add_message("user", "x")
        session.spawn(asyncio.sleep, 60)
        session.spawn(print)
        await asyncio.sleep(0.01)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)
        begin = time.monotonic()
        await session.close()
        return time.monotonic() - begin

    assert asyncio.run(main()) < 5


user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")


@pytest.mark.parametrize("face", ["blocking", "awaited"])
def test_each_job_runs_in_the_context_of_who_spawned_it(face: str) -> None:
    seen: list[tuple[str, str]] = []

    def slow(name: str) -> None:
        time.sleep(0.05)
        seen.append((name, user.get()))
        user.set("changed")

    async def later(name: str) -> None:
        await asyncio.sleep(0)
        seen.append((name, user.get()))

    def spawn_all(session: Any) -> None:
        for name in ("ann", "bob", "cleo"):
            context = contextvars.copy_context()
            context.run(user.set, name)
            context.run(session.spawn, slow, name)
            context.run(session.spawn, later, name)

    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            spawn_all(session)

    if face == "blocking":
        with session_with() as session:
            spawn_all(session)
    else:
        asyncio.run(main())
    assert seen == [(name, name) for name in ("ann", "bob", "cleo") for _ in range(2)]


def test_a_job_is_part_of_nothing_that_its_spawner_is_in() -> None:
    done: list[str] = []
    with session_with() as session:

        def alone() -> None:
            with session.exclusive(timeout=5):
                done.append("exclusive")

        with session.exclusive():
            session.spawn(alone)
    assert done == ["exclusive"]


def test_what_ends_a_thread_ends_no_other_job(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    async def cancelled() -> None:
        raise asyncio.CancelledError

    with session_with() as session:
        session.spawn(sys.exit, 3)
        session.spawn(cancelled)
        session.spawn(done.append, 1)

    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            session.spawn(cancelled)
            session.spawn(done.append, 2)

    asyncio.run(main())
    assert done == [1, 2]
    assert [record.getMessage().partition(":")[0] for record in caplog.records].count("exit, behind session 's', failed") == 1
    assert caplog.text.count("CancelledError") >= 2


def test_a_worker_that_cannot_begin_says_so_and_the_next_may(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[int] = []
    session = session_with(timeout=20)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            session.spawn(done.append, 1)
    session.spawn(done.append, 2)
    begin = time.monotonic()
    session.close()
    assert (done, time.monotonic() - begin < 5) == ([2], True)


ASYNC_JOB = """
from sessile import MemorySessionStore, Session
class Learns:
    async def on_user_message(self, session, content):
        session.spawn(learn, session)
async def learn(session):
    await session.set_state("learned", 1)
    print(await session.get_state("learned"), flush=True)
Session("s", store=MemorySessionStore(), plugins=[Learns()]).add_message("user", "x")
"""


def test_async_jobs_of_a_blocking_session_are_done_at_the_end_too() -> None:
    done = subprocess.run([sys.executable, "-c", ASYNC_JOB], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")


PROGRAM = """
import sys, time
from sessile import MemorySessionStore, Session
session = Session("s", store=MemorySessionStore(), timeout=float(sys.argv[1]))
def job(text, seconds):
    time.sleep(seconds)
    print(text, flush=True)
session.spawn(job, "first", 0.2)
session.spawn(job, "second", float(sys.argv[2]))
"""


def test_the_end_of_the_process_waits_for_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, "20", "0"], capture_output=True, text=True, check=True)
    assert done.stdout == "first\nsecond\n"
    begin = time.monotonic()
    done = subprocess.run([sys.executable, "-c", PROGRAM, "0.5", "60"], capture_output=True, text=True, check=True)
    assert done.stdout == "first\n"
    assert time.monotonic() - begin < 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_child_has_a_worker_of_its_own() -> None:
    session, go = session_with(timeout=5), threading.Event()
    session.spawn(go.wait)
    child = os.fork()
    if child == 0:
        done: list[int] = []
        session.spawn(done.append, 1)
        session.close()
        os._exit(0 if done == [1] else 1)
    assert os.waitpid(child, 0)[1] == 0
    go.set()
    session.close()
