"""Streams that end before their turn does: what is kept, and what the reader is told."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import aclosing, suppress
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session
from sessile.errors import Closed, ModelError
from sessile.testing.limits import within


class Steps:
    """A model that streams a word whenever it is let go on."""

    def __init__(self) -> None:
        self.go_on = threading.Semaphore(2)

    def generate(self, request: Request) -> str:
        assert request.emit is not None
        for word in ("one ", "two ", "three ", "four "):
            assert self.go_on.acquire(timeout=30)
            request.emit(word)
        return "one two three four "


class AsyncSteps(Steps):
    async def generate(self, request: Request) -> str:  # type: ignore[override]
        assert request.emit is not None
        for word in ("one ", "two ", "three ", "four "):
            while not self.go_on.acquire(blocking=False):
                await asyncio.sleep(0.001)
            request.emit(word)
        return "one two three four "


def kept(store: Any) -> list[tuple[str, Any]]:
    return [(m.text, m.metadata.get("interrupted", False)) for m in Session("s", store=store).messages]


@pytest.mark.parametrize("model", [Steps, AsyncSteps])
@pytest.mark.parametrize("closed_by", ["reader", "another thread", "another thread, meanwhile"])
def test_closing_a_blocking_session_keeps_what_its_reader_got(model: Any, closed_by: str) -> None:
    store, steps = MemorySessionStore(), model()
    session = Session("s", store=store, agent=Agent(model=steps))
    pieces: list[str] = []

    def close() -> None:
        steps.go_on.release(2)  # a blocking model cannot be interrupted, only told when it sends the next piece
        session.close()

    def read() -> None:
        for piece in session.stream("count"):
            pieces.append(piece)
            if piece == "two ":
                close() if closed_by == "reader" else other.start()
                if closed_by == "another thread":
                    other.join(30)

    other = threading.Thread(target=close)
    with pytest.raises(Closed, match="was closed while this reply was streamed"):
        read()
    if closed_by != "reader":
        other.join(30)
    question, answer = kept(store)
    assert question == ("count", False)
    assert answer[1]
    assert answer[0] == "".join(pieces)
    assert answer[0].startswith("one two ")
    assert session.closed


@pytest.mark.parametrize("model", [Steps, AsyncSteps])
@pytest.mark.parametrize("closed_by", ["reader", "another task"])
def test_closing_an_async_session_keeps_what_its_reader_got(model: Any, closed_by: str) -> None:
    store, steps = MemorySessionStore(), model()
    pieces: list[str] = []

    async def main() -> None:
        session = AsyncSession("s", store=store, agent=Agent(model=steps))
        two = asyncio.Event()

        async def read() -> None:
            async for piece in session.stream("count"):
                pieces.append(piece)
                if piece == "two ":
                    two.set()
                    if closed_by == "reader":
                        await session.close()

        reader = asyncio.ensure_future(read())
        await two.wait()
        if closed_by == "another task":
            await session.close()
        with pytest.raises(Closed, match="was closed while this reply was streamed"):
            await reader
        steps.go_on.release(2)
        assert session.closed

    asyncio.run(main())
    assert kept(store) == [("count", False), ("one two ", True)]
    assert pieces == ["one ", "two "]


def test_a_stream_that_nobody_reads_on_ends_with_its_session() -> None:
    store, steps = MemorySessionStore(), Steps()
    session = Session("s", store=store, agent=Agent(model=steps))
    stream = session.stream("count")
    assert next(stream) == "one "
    steps.go_on.release(2)
    session.close()
    assert kept(store)[1][1]
    with pytest.raises(Closed):
        list(stream)


@pytest.mark.parametrize("face", ["blocking", "async"])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_tool_or_layer_that_closes_its_own_session_does_not_wait_for_itself(face: str, is_async: bool) -> None:
    def blocking(turn: Any, call_next: Any) -> Any:
        turn.session.close()
        return call_next(turn)

    async def awaiting(turn: Any, call_next: Any) -> Any:
        await turn.session.close()
        return await call_next(turn)

    options: Any = {
        "store": MemorySessionStore(),
        "agent": Agent(model="echo"),
        "middleware": [awaiting if is_async else blocking],
    }
    if face == "blocking":
        with pytest.raises(Closed):
            list(Session("s", **options).stream("x"))
        return

    async def main() -> None:
        with pytest.raises(Closed):
            async for _ in AsyncSession("s", **options).stream("x"):
                pass

    asyncio.run(main())


class Talks:
    """A model that streams some text before it calls a tool."""

    def generate(self, request: Request) -> Any:
        assert request.emit is not None
        request.emit("Let me look. ")
        return {"content": "Let me look. ", "tool_calls": [{"id": "1", "name": "look", "arguments": {}}]}


def test_text_that_was_streamed_before_tool_calls_is_kept_once() -> None:
    def look() -> None:
        raise KeyboardInterrupt

    store = MemorySessionStore()
    session = Session("s", store=store, agent=Agent(model=Talks(), tools=[look]))
    with pytest.raises(KeyboardInterrupt):
        list(session.stream("x"))
    assert kept(store) == [("x", False), ("Let me look. ", False)]


def test_text_that_was_streamed_before_tool_calls_is_kept_once_when_an_async_reader_leaves() -> None:
    begun = asyncio.Event()

    async def look() -> None:
        begun.set()
        await asyncio.sleep(30)

    async def main() -> None:
        async with AsyncSession("s", store=store, agent=Agent(model=Talks(), tools=[look])) as session:
            async for _ in session.stream("x"):
                await begun.wait()
                break

    store = MemorySessionStore()
    asyncio.run(main())
    assert kept(store) == [("x", False), ("Let me look. ", False)]


def test_a_character_that_was_cut_in_two_is_kept_whole() -> None:
    class Cut:
        def generate(self, request: Request) -> str:
            assert request.emit is not None
            for piece in ("hello ", "\ud83d", "\ude00 world", "\ud83d"):
                request.emit(piece)
            raise ValueError("broken off")

    session = Session("s", store="memory://", agent=Agent(model=Cut()))
    with pytest.raises(ValueError, match="broken off"):
        list(session.stream("hi"))
    assert session.messages[-1].text == "hello \U0001f600 world\ufffd"
    assert session.messages[-1].metadata == {"interrupted": True}


def test_what_is_no_text_is_not_streamed() -> None:
    class Wrong:
        def generate(self, request: Request) -> str:
            assert request.emit is not None
            request.emit(5)  # type: ignore[arg-type]
            return "never"

    with pytest.raises(ModelError, match="emit was given 5"):
        list(Session("s", store="memory://", agent=Agent(model=Wrong())).stream("hi"))


def test_a_session_is_closed_while_many_of_its_turns_end() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            _close_while_turns_end(8)
    finally:
        sys.setswitchinterval(interval)


def _close_while_turns_end(count: int) -> None:
    begun = threading.Barrier(count + 1)

    class Last:
        def generate(self, request: Request) -> str:
            begun.wait(30)
            return "done"

    def read() -> None:
        with suppress(Closed):
            list(session.stream("count"))

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Last()))
    readers = [threading.Thread(target=read) for _ in range(count)]
    for reader in readers:
        reader.start()
    begun.wait(30)
    session.close()
    for reader in readers:
        reader.join(30)
    assert session.closed


def test_a_stream_whose_thread_cannot_be_started_keeps_no_close_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"))

    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            next(session.stream("hi"))
    within(10, "close", session.close)
    assert session.closed


def test_a_stream_that_is_left_and_then_cancelled_still_ends_its_turn() -> None:
    class Slow(MemorySessionStore):
        def commit(self, *args: Any, **options: Any) -> None:
            time.sleep(0.2)
            super().commit(*args, **options)

    class Words:
        def generate(self, request: Request) -> Iterator[str]:
            yield "look "
            yield "here"

    async def main() -> list[Any]:
        session = AsyncSession("s", store=Slow(), agent=Agent(model=Words()))

        async def leave() -> None:
            async with aclosing(session.stream("q")) as pieces:  # type: ignore[type-var]
                async for _ in pieces:
                    break

        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(leave(), 0.3)  # while the stream is being closed
        assert not session._handle.running
        await session.chat("q")
        return [(message.role, message.open) for message in await session.messages]

    messages = asyncio.run(main())
    assert [role for role, _ in messages] in (["user", "assistant"], ["user", "assistant"] * 2)
    assert not any(is_open for _, is_open in messages)


def test_nothing_is_begun_for_a_reader_who_left() -> None:
    begun: list[int] = []

    def look(number: int) -> str:
        begun.append(number)
        time.sleep(0.1)
        return "seen"

    class Calls:
        def generate(self, request: Request) -> Iterator[Any]:
            yield "look "
            yield {"tool_calls": [{"name": "look", "arguments": {"number": number}} for number in range(20)]}

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Calls(), tools=[look]))
    for _ in session.stream("q"):
        break
    assert len(begun) <= 2
    assert session.messages[0].open
