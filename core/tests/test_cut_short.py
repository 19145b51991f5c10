"""A commit of a turn lands, and whoever made it does not hear of that: nothing is said twice, by the turn or by its user."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session
from sessile.errors import StoreUnavailable

QUESTION, CALL, RESULT, REPLY = range(1, 5)  # the commits of a turn
WHOLE = ["hi", "let me see", "42", "it is 42"]
# What there is after the turn was cut at a commit, and the same was said again.
CUT = "Error: this call was cut off; whether it took effect is not known"
AFTERWARDS = {QUESTION: WHOLE, CALL: [*WHOLE[:2], CUT, WHOLE[3]], RESULT: WHOLE, REPLY: [*WHOLE, *WHOLE]}


class Cutting(MemorySessionStore):
    """Does something behind the commit of a number."""

    away = False

    def __init__(self, number: int, cut: Callable[[], None]) -> None:
        super().__init__()
        self.left, self.cut = number, cut

    def load(self, session_id: str) -> Any:
        self._check()
        return super().load(session_id)

    def commit(self, *args: Any, **kwargs: Any) -> None:
        self._check()
        super().commit(*args, **kwargs)
        self.left -= 1
        if not self.left:
            self.cut()

    def go_away(self) -> None:
        self.away = True
        self._check()

    def _check(self) -> None:
        if self.away:
            raise StoreUnavailable("no route to the store")


class Looking:
    """A model that streams what it says, and looks something up first."""

    def generate(self, request: Request) -> Any:
        looked = request.messages[-1].role == "tool"
        text = WHOLE[3] if looked else WHOLE[1]
        if request.emit:
            for word in text.split(" "):
                request.emit(word)
        return text if looked else {"role": "assistant", "content": text, "tool_calls": [{"name": "look", "arguments": {}}]}


def agent() -> Agent:
    def look() -> str:
        return "42"

    return Agent(model=Looking(), tools=[look])


def interrupt() -> None:
    raise KeyboardInterrupt


def contents(session: Any) -> list[Any]:
    return [said.content for said in session.messages]


@pytest.mark.parametrize("number", AFTERWARDS)
def test_a_signal_behind_a_commit(number: int) -> None:
    store = Cutting(number, interrupt)
    session = Session("s", store=store, agent=agent())
    with pytest.raises(KeyboardInterrupt):
        session.chat("hi")
    assert contents(session) == WHOLE[:number]
    session.chat("hi")
    assert contents(session) == AFTERWARDS[number]


@pytest.mark.parametrize("number", AFTERWARDS)
def test_a_store_that_gives_no_answer(number: int) -> None:
    store = Cutting(number, lambda: store.go_away())
    session = Session("s", store=store, agent=agent(), timeout=0.05)
    for _ in range(2):  # it is still away when it is said again
        with pytest.raises(StoreUnavailable, match="no route"):
            session.chat("hi")
    store.away = False
    session.chat("hi")
    assert contents(session) == AFTERWARDS[number]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("number", AFTERWARDS)
def test_a_cancellation_during_a_commit(number: int, streamed: bool) -> None:
    observed: list[str] = []

    class Observer:
        def on_user_message(self, content: Any) -> None:
            observed.append(content)

        def on_agent_message(self, content: Any) -> None:
            observed.append(content)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        store = Cutting(number, lambda: loop.call_soon_threadsafe(task.cancel))
        session = AsyncSession("s", store=store, agent=agent(), plugins=[Observer()])

        async def read() -> None:
            async with contextlib.aclosing(session.stream("hi")) as pieces:
                async for _ in pieces:
                    pass

        task = asyncio.ensure_future(read() if streamed else session.chat("hi"))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [said.content for said in await session.messages] == WHOLE[:number]
        assert observed == [text for text in WHOLE[:number] if text != "42"]
        await session.chat("hi")
        assert [said.content for said in await session.messages] == AFTERWARDS[number]

    asyncio.run(main())


WRITES: dict[str, Callable[[Any], Any]] = {
    "add_message": lambda session: session.add_message("user", "x"),
    "chat": lambda session: session.chat("x"),
    "set_state": lambda session: session.set_state("k", 1),
    "fork": lambda session: session.fork(session_id="f"),
    "delete": lambda session: session.delete(),
}


@pytest.mark.parametrize("verb", WRITES)
def test_a_cancelled_write_ends_once_its_outcome_is_known(verb: str) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Waiting(MemorySessionStore):
        waits = False

        def commit(self, *args: Any, **kwargs: Any) -> None:
            if self.waits:
                begun.set()
                assert go_on.wait(60)
            super().commit(*args, **kwargs)

    def stored(store: Any) -> list[Any]:
        return [store.load("s"), store.load("f"), store.logs()]

    async def main() -> None:
        store = Waiting()
        session = AsyncSession("s", store=store, agent=Agent(model="echo"))
        await session.add_message("user", "first")
        first = stored(store)
        store.waits = True
        task = asyncio.ensure_future(WRITES[verb](session))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.sleep(0.02)
        assert not task.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        landed = stored(store)
        assert landed != first
        await asyncio.sleep(0.02)
        assert stored(store) == landed

    asyncio.run(main())
