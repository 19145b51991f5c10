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


def calling_on_again(store: Any, meanwhile: Callable[[], object]) -> Any:
    def layer(turn: Any, call_next: Any) -> Any:
        try:
            return call_next(turn)
        except StoreUnavailable:
            store.away = False
            meanwhile()
            return call_next(turn)

    return layer


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("number", [QUESTION, CALL, RESULT])
def test_a_layer_that_calls_on_again_after_a_commit_without_an_answer(number: int, others: bool) -> None:
    store = Cutting(number, lambda: store.go_away())
    other = Session("s", store=store)
    layer = calling_on_again(store, lambda: others and other.add_message("user", "theirs"))
    session = Session("s", store=store, agent=agent(), timeout=0.05, middleware=[layer])
    session.chat("hi")
    said = [said for said in session.messages if said.content != "theirs"]
    assert [m.content for m in said] == AFTERWARDS[number]
    assert len({m.turn for m in said}) == 1
    assert not any(m.open for m in said)
    assert session.message_count == len(said) + others


@pytest.mark.parametrize("number", [QUESTION, CALL, RESULT])
def test_a_layer_that_has_a_time_limit_and_calls_on_again(number: int) -> None:
    class Late(MemorySessionStore):
        left = number

        def commit(self, *args: Any, **kwargs: Any) -> None:
            super().commit(*args, **kwargs)
            self.left -= 1
            if not self.left:
                late.wait(60)  # it has landed, and the answer takes until the layer has given up

    late = threading.Event()

    async def layer(turn: Any, call_next: Any) -> Any:
        inside = asyncio.ensure_future(call_next(turn))
        while store.left > 0:
            await asyncio.sleep(0.001)
        inside.cancel()
        await asyncio.sleep(0.01)
        late.set()
        with contextlib.suppress(asyncio.CancelledError):
            await inside
        Session("s", store=store).add_message("user", "theirs")
        return await call_next(turn)

    store = Late()

    async def main() -> list[Any]:
        session = AsyncSession("s", store=store, agent=agent(), middleware=[layer])
        await session.chat("hi")
        return [said.content for said in await session.messages if said.content != "theirs"]

    assert asyncio.run(main()) == AFTERWARDS[number]


@pytest.mark.parametrize("number", [QUESTION, CALL, RESULT])
def test_a_layer_that_answers_itself_after_a_commit_without_an_answer(number: int) -> None:
    def layer(turn: Any, call_next: Any) -> Any:
        try:
            return call_next(turn)
        except StoreUnavailable:
            store.away = False
            return "sorry"

    store = Cutting(number, lambda: store.go_away())
    session = Session("s", store=store, agent=agent(), timeout=0.05, middleware=[layer])
    assert session.chat("hi") == "sorry"
    said = {QUESTION: WHOLE[:1], CALL: [*WHOLE[:2], CUT], RESULT: WHOLE[:3]}[number]
    assert contents(session) == [*said, "sorry"]
    assert not any(m.open for m in session.messages)


def test_a_commit_that_met_another_session_of_its_id_first_is_found_in_that() -> None:
    class Begun(MemorySessionStore):
        commits = 0

        def commit(self, *args: Any, **kwargs: Any) -> None:
            self.commits += 1
            mine = self.commits
            if mine == 1:
                Session("s", store=self).add_message("user", "theirs")
            super().commit(*args, **kwargs)
            if mine == 3:
                raise KeyboardInterrupt

    session = Session("s", store=Begun(), agent=Agent(model="echo"))
    with pytest.raises(KeyboardInterrupt):
        session.chat("mine")
    session.chat("mine")
    assert contents(session) == ["theirs", "mine", "mine"]
    assert [said.role for said in session.messages] == ["user", "user", "assistant"]


@pytest.mark.parametrize("number", AFTERWARDS)
def test_a_session_does_not_take_its_own_commit_for_somebody_elses(number: int) -> None:
    session = Session("s", store=Cutting(number, interrupt), agent=agent(), on_conflict="raise")
    with pytest.raises(KeyboardInterrupt):
        session.chat("hi")
    session.add_message("user", "and more")
    assert contents(session) == [*WHOLE[:number], "and more"]


def test_observers_are_told_of_a_turn_that_failed_as_the_store_was_away() -> None:
    told: list[BaseException] = []

    class Observer:
        def on_turn_error(self, error: BaseException) -> None:
            told.append(error)

    store = Cutting(QUESTION, lambda: store.go_away())
    session = Session("s", store=store, agent=agent(), timeout=0.05, plugins=[Observer()])
    with pytest.raises(StoreUnavailable) as caught:
        session.chat("hi")
    assert told == [caught.value]
