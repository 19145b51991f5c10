"""Layers of middleware: blocking and async ones mixed, many turns at once, cancelled ones, and calling on again."""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session, SQLiteSessionStore
from sessile.errors import InvalidInput, SessileError

FACES = ["blocking", "async"]


@pytest.fixture
def watchdog() -> Iterator[None]:
    """A test that hangs fails after a minute; where even that hangs, the process ends with the stacks of all threads."""

    def fail(*_: object) -> None:
        raise TimeoutError("this test hangs")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(60)
    faulthandler.dump_traceback_later(90, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def blocking(turn: Any, call_next: Any) -> str:
    return f"b({call_next(turn).content})"


async def awaiting(turn: Any, call_next: Any) -> str:
    await asyncio.sleep(0)
    return f"a({(await call_next(turn)).content})"


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.002)


async def aunto(condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(until, condition)


class Model:
    """Answers by a list: texts, tool calls, and exceptions, which it raises. Keeps what it was asked."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.prompts = list(answers), []

    def generate(self, request: Request) -> Any:
        self.prompts.append([(m.role, m.content) for m in request.messages])
        answer = self.answers.pop(0) if self.answers else "done"
        if isinstance(answer, BaseException):
            raise answer
        return answer


def calling(name: str, *ids: str) -> dict[str, Any]:
    return {"tool_calls": [{"id": i, "name": name, "arguments": {}} for i in ids or ("c1",)]}


def chat(face: str, content: str, **options: Any) -> tuple[str, list[tuple[str, Any]]]:
    """One chat in a new session of a face: the reply, and what the session then holds."""
    options = {"store": MemorySessionStore(), **options}
    if face == "blocking":
        session = Session("s", **options)
        return session.chat(content), [(m.role, m.content) for m in session.messages]

    async def main() -> tuple[str, list[tuple[str, Any]]]:
        async with AsyncSession("s", **options) as session:
            return await session.chat(content), [(m.role, m.content) for m in await session.messages]

    return asyncio.run(main())


# -- many at once


@pytest.mark.parametrize("layers", [[blocking, awaiting, blocking], [awaiting, blocking, awaiting]], ids=["bab", "aba"])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_as_many_turns_as_one_likes_go_through_mixed_layers_at_once(
    watchdog: None, tmp_path: Path, layers: list[Any], store: str
) -> None:
    made = MemorySessionStore() if store == "memory" else SQLiteSessionStore(tmp_path / "s.db")
    options = {"store": made, "agent": Agent(model="echo"), "middleware": layers}
    expected = "b(a(b(x)))" if layers[0] is blocking else "a(b(a(x)))"

    async def main() -> list[str]:
        sessions = [AsyncSession(f"async{n}", **options) for n in range(200)]
        return await asyncio.gather(*[session.chat("x") for session in sessions])

    assert asyncio.run(main()) == [expected] * 200
    sessions = [Session(f"blocking{n}", **options) for n in range(50)]
    with ThreadPoolExecutor(50) as threads:
        assert list(threads.map(lambda session: session.chat("x"), sessions)) == [expected] * 50
    assert Session("async199", store=made).message_count == Session("blocking49", store=made).message_count == 2


@pytest.mark.parametrize("layers", [[], [awaiting, blocking, awaiting]])
def test_threads_that_share_one_blocking_session_lose_and_double_nothing(watchdog: None, layers: list[Any]) -> None:
    model = Model(*map(str, range(100)))
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, window=1000), middleware=layers)
    with ThreadPoolExecutor(50) as threads:
        list(threads.map(session.chat, (f"?{n}" for n in range(100))))
    assert [m.id for m in session.messages] == [m.id for m in Session("s", store=session.store).messages]
    assert Counter(m.role for m in session.messages) == {"user": 100, "assistant": 100}
    for prompt in model.prompts:
        assert not [said for said, times in Counter(prompt).items() if times > 1]


def test_tasks_that_share_one_async_session_lose_and_double_nothing(watchdog: None) -> None:
    async def main() -> None:
        model = Model(*map(str, range(200)))
        store = MemorySessionStore()
        session = AsyncSession("s", store=store, agent=Agent(model=model, window=1000), middleware=[blocking])
        await asyncio.gather(*[session.chat(f"?{n}") for n in range(200)])
        said = [m.id for m in await session.messages]
        assert said == [m.id for m in await AsyncSession("s", store=store).messages]
        assert len(set(said)) == 400
        for prompt in model.prompts:
            assert not [said for said, times in Counter(prompt).items() if times > 1]

    asyncio.run(main())


def test_a_forked_process_has_threads_and_a_loop_of_its_own(tmp_path: Path) -> None:
    program = Path(__file__).with_name("forked.py")
    command = [sys.executable, "-W", "ignore", str(program), f"sqlite:///{tmp_path}/s.db"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "parent\nchild\nparent\n"), done.stderr


def test_slow_models_do_not_hold_up_a_read(watchdog: None) -> None:
    answer = threading.Event()
    asked: list[int] = []

    class Slow:
        def generate(self, request: Request) -> str:
            asked.append(1)
            answer.wait(60)
            return "late"

    async def main() -> None:
        store = MemorySessionStore()
        sessions = [AsyncSession(f"s{n}", store=store, agent=Agent(model=Slow())) for n in range(50)]
        chats = [asyncio.ensure_future(session.chat("x")) for session in sessions]
        await aunto(lambda: len(asked) == 50)
        assert await AsyncSession("s7", store=store).message_count == 1
        answer.set()
        assert await asyncio.gather(*chats) == ["late"] * 50

    asyncio.run(main())


def test_a_store_that_waits_holds_up_no_other_and_its_threads_end_with_it(watchdog: None) -> None:
    free = threading.Event()
    waiting: list[int] = []

    class Locked(MemorySessionStore):
        def commit(self, session_id: str, **what: Any) -> None:
            waiting.append(1)
            free.wait(60)
            super().commit(session_id, **what)

    async def main(store: MemorySessionStore) -> None:
        sessions = [AsyncSession(f"s{n}", store=store) for n in range(50)]
        commits = [asyncio.ensure_future(session.add_message("user", "x")) for session in sessions]
        await aunto(lambda: len(waiting) == min(32, (os.cpu_count() or 1) + 4))  # no thread is left to it
        other = AsyncSession("s", store=MemorySessionStore())
        await other.add_message("user", "x")
        assert await other.message_count == 1
        assert len(waiting) < 50
        free.set()
        await asyncio.gather(*commits)

    def ours() -> set[threading.Thread]:
        return {thread for thread in threading.enumerate() if thread.name.startswith("sessile-store")}

    before = ours()
    asyncio.run(main(Locked()))
    gc.collect()
    until(lambda: ours() <= before)


def test_a_tool_that_asks_another_agent_does_not_wait_for_its_own_thread(watchdog: None) -> None:
    def ask(depth: int) -> str:
        answers = (calling("inner"), "asked") if depth else ("bottom",)
        inner = {"tools": [_named(lambda: ask(depth - 1), "inner")]} if depth else {}
        return chat("async", "x", agent=Agent(model=Model(*answers), **inner))[0]

    async def main() -> list[str]:
        return await asyncio.gather(*[asyncio.to_thread(ask, 3) for _ in range(20)])

    assert asyncio.run(main()) == ["asked"] * 20


def _named(function: Callable[..., Any], name: str) -> Any:
    from sessile import tool

    return tool(function, name=name)


# -- cancelled


@pytest.mark.parametrize("layers", [[], [blocking], [awaiting], [blocking, awaiting], [awaiting, blocking]])
def test_a_cancelled_chat_stores_nothing_afterwards(watchdog: None, layers: list[Any]) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran: list[int] = []

    def slow() -> str:
        begun.set()
        go_on.wait(60)
        return "slow"

    def never() -> None:
        ran.append(1)

    ended: list[BaseException] = []

    def watching(turn: Any, call_next: Any) -> Any:
        try:
            return call_next(turn)
        except BaseException as error:
            ended.append(error)
            raise

    async def main() -> None:
        calls = {"tool_calls": [{"id": n, "name": n, "arguments": {}} for n in ("slow", "never")]}
        agent = Agent(model=Model(calls), tools=[slow, never])
        session = AsyncSession("s", store=MemorySessionStore(), agent=agent, middleware=[watching, *layers])
        task = asyncio.ensure_future(session.chat("x"))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        count = await session.message_count
        go_on.set()
        await aunto(lambda: bool(ended))
        assert "done" in await session.chat("y")
        assert (count, await session.message_count) == (2, 4)

    asyncio.run(main())
    assert not ran
    assert isinstance(ended[0], asyncio.CancelledError)  # which `except Exception` in a layer that tries again lets through


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("inner", [[], [blocking], [blocking, awaiting]])
def test_a_layer_with_a_time_limit_ends_what_is_inside_of_it(watchdog: None, face: str, inner: list[Any]) -> None:
    begun, go_on = threading.Event(), threading.Event()
    ran: list[int] = []

    def slow() -> str:
        begun.set()
        go_on.wait(60)
        return "slow"

    async def limit(turn: Any, call_next: Any) -> Any:
        task = asyncio.ensure_future(call_next(turn))
        await asyncio.to_thread(begun.wait, 30)
        done, _ = await asyncio.wait([task], timeout=0.01)
        assert not done
        return "too late"  # and the task is left as it is

    calls = {"tool_calls": [{"id": n, "name": n, "arguments": {}} for n in ("slow", "never")]}
    agent = Agent(model=Model(calls, "in time"), tools=[slow, _named(lambda: ran.append(1), "never")])
    reply, said = chat(face, "x", agent=agent, middleware=[limit, *inner])
    go_on.set()
    assert reply == "too late"
    cut_off = "Error: this call was cut off; whether it took effect is not known"
    assert said == [("user", "x"), ("assistant", None), ("tool", cut_off), ("tool", cut_off), ("assistant", "too late")]
    assert not ran
    assert len(agent.model.prompts) == 1


def test_an_interrupted_blocking_chat_ends_what_it_waits_for(watchdog: None) -> None:
    program = Path(__file__).with_name("interrupted.py")
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # ignored in a shell's background
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    os.kill(process.pid, 2)
    assert process.communicate(timeout=60)[0] == "ended\nKeyboardInterrupt 1\n"


# -- calling on again


def again(times: int, change: Callable[[Any], None] = lambda turn: None) -> Callable[[str], Any]:
    """A layer that calls on again after an error, blocking or async."""

    def layer(turn: Any, call_next: Any) -> Any:
        for _ in range(times - 1):
            with contextlib.suppress(RuntimeError):
                return call_next(turn)
            change(turn)
        return call_next(turn)

    async def alayer(turn: Any, call_next: Any) -> Any:
        for _ in range(times - 1):
            with contextlib.suppress(RuntimeError):
                return await call_next(turn)
            change(turn)
        return await call_next(turn)

    return lambda kind: layer if kind == "blocking" else alayer


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("kind", FACES)
class TestCallingOnAgain:
    def test_the_question_is_stored_and_sent_once(self, face: str, kind: str) -> None:
        model = Model(RuntimeError("1"), RuntimeError("2"), "third time")
        reply, said = chat(face, "x", agent=Agent(model=model), middleware=[again(3)(kind)])
        assert reply == "third time"
        assert said == [("user", "x"), ("assistant", "third time")]
        assert model.prompts == [[("user", "x")]] * 3

    def test_what_tools_did_is_kept_and_sent_whole(self, face: str, kind: str) -> None:
        model = Model(calling("look"), RuntimeError("lost"), "found")
        agent = Agent(model=model, tools=[_named(lambda: "seen", "look")])
        _, said = chat(face, "x", agent=agent, middleware=[again(2)(kind)])
        before = [("user", "x"), ("assistant", None), ("tool", "seen")]
        assert said == [*before, ("assistant", "found")]
        assert model.prompts == [[("user", "x")], before, before]

    def test_another_agent_may_answer(self, face: str, kind: str) -> None:
        def other(turn: Any) -> None:
            turn.agent = Agent("Second", model=Model("second"))

        _, said = chat(face, "x", agent=Agent(model=Model(RuntimeError("down"))), middleware=[again(2, other)(kind)])
        assert said == [("user", "x"), ("assistant", "second")]

    def test_a_question_that_was_changed_is_stored_behind_the_first(self, face: str, kind: str) -> None:
        def plainer(turn: Any) -> None:
            turn.content = "y"

        model = Model(RuntimeError("what?"), "yes")
        _, said = chat(face, "x", agent=Agent(model=model), middleware=[again(2, plainer)(kind)])
        assert said == [("user", "x"), ("user", "y"), ("assistant", "yes")]
        assert model.prompts[-1] == said[:-1]

    def test_a_layer_that_answers_by_itself_after_an_error_stores_the_question_once(self, face: str, kind: str) -> None:
        def sorry(turn: Any, call_next: Any) -> Any:
            with contextlib.suppress(RuntimeError):
                return call_next(turn)
            return "sorry"

        async def asorry(turn: Any, call_next: Any) -> Any:
            with contextlib.suppress(RuntimeError):
                return await call_next(turn)
            return "sorry"

        layer = sorry if kind == "blocking" else asorry
        _, said = chat(face, "x", agent=Agent(model=Model(RuntimeError("1"))), middleware=[layer])
        assert said == [("user", "x"), ("assistant", "sorry")]


@pytest.mark.parametrize("face", FACES)
def test_a_call_that_was_cut_off_is_told_to_the_next_attempt(watchdog: None, face: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def look() -> str:
        begun.set()
        go_on.wait(60)
        return "seen"

    async def twice(turn: Any, call_next: Any) -> Any:
        task = asyncio.ensure_future(call_next(turn))
        await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        await asyncio.wait([task])
        return await call_next(turn)

    model = Model(calling("look", "c1", "c2"), "at last")
    _, said = chat(face, "x", agent=Agent(model=model, tools=[look]), middleware=[twice])
    go_on.set()
    assert [role for role, _ in said] == ["user", "assistant", "tool", "tool", "assistant"]
    assert all("cut off" in content for role, content in said if role == "tool")
    assert model.prompts[-1] == said[:-1]


@pytest.mark.parametrize("face", FACES)
def test_two_attempts_at_once_are_refused(face: str) -> None:
    async def both(turn: Any, call_next: Any) -> Any:
        one, two = await asyncio.gather(call_next(turn), call_next(turn), return_exceptions=True)
        assert isinstance(two, InvalidInput), two
        return one

    _, said = chat(face, "x", agent=Agent(model="echo"), middleware=[both])
    assert said == [("user", "x"), ("assistant", "x")]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (lambda turn, call_next: call_next("x"), "pass the turn it was given"),
        (lambda turn, call_next: awaiting(turn, call_next), "write it as `async def`"),
        (lambda turn, call_next: None, "returned None"),
        (lambda turn, call_next: setattr(turn, "message", "text") or call_next(turn), "set turn.message to 'text'"),
    ],
)
def test_a_layer_that_cannot_work_is_told_why(face: str, layer: Any, expected: str) -> None:
    with pytest.raises(InvalidInput, match=expected):
        chat(face, "x", agent=Agent(model="echo"), middleware=[layer])


def test_a_blocking_session_within_the_background_loop_is_refused_and_does_not_hang(watchdog: None) -> None:
    inner = Session("inner", store=MemorySessionStore(), agent=Agent(model="echo"), middleware=[awaiting])

    async def nested(turn: Any, call_next: Any) -> Any:
        return inner.chat("x")

    with pytest.raises(SessileError, match="use an AsyncSession there"):
        chat("blocking", "x", agent=Agent(model="echo"), middleware=[nested])
