"""Models: whichever way one answers, whole or in pieces, blocking or async, the reply is the same; and what it took is known."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faces import FACES, opener

from sessile import Agent, AsyncSession, MemorySessionStore, Session, SessionManager, Usage, tool
from sessile.errors import InvalidInput, InvalidMessage, ModelError, TurnInterrupted
from sessile.models import EchoModel, Message, Request, TokenUsage
from sessile.testing import ScriptedModel

USAGE: TokenUsage = {"input_tokens": 12, "output_tokens": 3, "cached_tokens": 4, "reasoning_tokens": 1, "model": "m-1"}
CALL = {"id": "c1", "name": "look", "arguments": {"where": "here"}}


def look(where: str) -> str:
    return f"it is {where}"


class Whole:
    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def generate(self, request: Request) -> Any:
        for piece in self.answer if request.emit is not None else ():
            if isinstance(piece, str):
                request.emit(piece)
        said: dict[str, Any] = {"content": "".join(piece for piece in self.answer if isinstance(piece, str))}
        for piece in self.answer:
            if isinstance(piece, dict):
                said.update({name: value for name, value in piece.items() if value})
        return said


class AsyncWhole(Whole):
    async def generate(self, request: Request) -> Any:
        return super().generate(request)


class Yields(Whole):
    def generate(self, request: Request) -> Iterator[Any]:
        yield from self.answer


class Iterates(Whole):
    """Its pieces are of an iterator that is no generator."""

    def generate(self, request: Request) -> Iterator[Any]:
        return iter(self.answer)


class AsyncYields(Whole):
    async def generate(self, request: Request) -> AsyncIterator[Any]:
        for piece in self.answer:
            await asyncio.sleep(0)
            yield piece


class Later(Whole):
    """What is awaited is a generator."""

    async def generate(self, request: Request) -> Any:
        return AsyncYields(self.answer).generate(request)


MODELS = (Whole, AsyncWhole, Yields, Iterates, AsyncYields, Later)
Opener = Callable[..., Any]


@pytest.fixture(params=FACES)
def open_session(request: pytest.FixtureRequest) -> Iterator[Opener]:
    with closing(asyncio.new_event_loop()) as loop:

        def open_session(model: Any, **options: Any) -> Any:
            session_opener = opener(request.param, loop)
            return session_opener("s", store=MemorySessionStore(), agent=Agent(model=model, tools=[look]), **options)

        yield open_session


def said(session: Any) -> list[tuple[Any, ...]]:
    return [(m.role, m.content, m.metadata, [call["name"] for call in m.tool_calls]) for m in session.messages]


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("streaming", [False, True])
def test_the_reply_is_the_same_whichever_way_it_is_given(open_session: Opener, model: Any, streaming: bool) -> None:
    session = open_session(model(["Hel", "", "lo", {"metadata": {"usage": USAGE, "mood": "good"}}]))
    if streaming:
        pieces = list(session.stream("hi"))
        assert (pieces if model not in (Whole, AsyncWhole) else [piece for piece in pieces if piece]) == ["Hel", "lo"]
    else:
        assert session.chat("hi") == "Hello"
    assert said(session) == [("user", "hi", {}, []), ("assistant", "Hello", {"usage": USAGE, "mood": "good"}, [])]


@pytest.mark.parametrize("model", MODELS)
def test_calls_are_made(open_session: Opener, model: Any) -> None:
    class Both:
        asked = 0

        def generate(self, request: Request) -> Any:
            Both.asked += 1
            pieces = ["Let me look.", {"tool_calls": [CALL]}] if Both.asked == 1 else ["There", {"content": ""}]
            return model(pieces).generate(request)

    session = open_session(Both())
    assert list(session.stream("where?")) == ["Let me look.", "There"]
    assert [row[1:2] + row[3:] for row in said(session)] == [
        ("where?", []),
        ("Let me look.", ["look"]),
        ("it is here", []),
        ("There", []),
    ]


def test_what_is_said_twice(open_session: Opener) -> None:
    pieces = [
        "draft",
        {"tool_calls": [CALL], "metadata": {"usage": {"input_tokens": 5, "output_tokens": 1}, "a": 1}},
        {"tool_calls": [{**CALL, "id": "c2"}], "metadata": {"usage": {"output_tokens": 9}, "b": 2}},
        {"content": ""},
        {"role": "assistant", "content": " and more"},
        {"metadata": {"c": 3}},
    ]
    session = open_session(ScriptedModel(pieces, "done"))
    assert session.chat("hi") == "done"
    first = session.messages[1]
    assert (first.content, [call["id"] for call in first.tool_calls]) == ("draft and more", ["c1", "c2"])
    assert first.metadata == {"usage": {"input_tokens": 5, "output_tokens": 9}, "a": 1, "b": 2, "c": 3}
    assert [m.tool_call_id for m in session.messages[2:4]] == ["c1", "c2"]


class Breaks:
    """It fails the first time."""

    asked = 0

    def pieces(self) -> Iterator[Any]:
        self.asked += 1
        if self.asked > 1:
            yield "again"
            return
        yield "Hel"
        yield {"metadata": {"usage": {"input_tokens": 7}}}
        yield "lo"
        raise ValueError("gone")

    def generate(self, request: Request) -> Any:
        return self.pieces()


class AsyncBreaks(Breaks):
    async def generate(self, request: Request) -> AsyncIterator[Any]:
        for piece in self.pieces():
            yield piece


@pytest.mark.parametrize("model", [Breaks, AsyncBreaks])
@pytest.mark.parametrize("streaming", [False, True])
def test_one_that_fails_in_mid_stream(open_session: Opener, model: Any, streaming: bool) -> None:
    session = open_session(model())
    with pytest.raises(ValueError, match="gone"):
        list(session.stream("hi")) if streaming else session.chat("hi")
    kept = [("assistant", "Hello", {"interrupted": True, "usage": {"input_tokens": 7}}, [])] if streaming else []
    assert said(session) == [("user", "hi", {}, []), *kept]
    assert session.usage().input_tokens == (7 if streaming else 0)
    assert session.chat("hi") == "again"
    assert [row[0] for row in said(session)] == ["user", "assistant"] + ["user", "assistant"] * streaming


@pytest.mark.parametrize(
    "piece", [None, 5, b"x", ["nested"], {"role": "user", "content": "x"}, {"metadata": 5}, {"tool_calls": 5}]
)
@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("model", [Yields, Iterates, AsyncYields])
def test_a_piece_that_is_none_is_refused(open_session: Opener, model: Any, piece: Any, streaming: bool) -> None:
    session = open_session(model(["Hel", piece]))
    with pytest.raises(ModelError, match="yielded by a model, is no piece of an answer: yield text"):
        list(session.stream("hi")) if streaming else session.chat("hi")
    assert [row[:2] for row in said(session)] == [("user", "hi"), *([("assistant", "Hel")] * streaming)]


def test_a_generator_returns_nothing(open_session: Opener) -> None:
    class Returns:
        def generate(self, request: Request) -> Iterator[str]:
            yield "Hel"
            return "Hello"  # type: ignore[return-value]

    with pytest.raises(ModelError, match="'Hello', returned by a generator, is no piece"):
        open_session(Returns()).chat("hi")


@pytest.mark.parametrize("model", [Yields, AsyncYields])
def test_a_character_may_come_in_two_pieces(open_session: Opener, model: Any) -> None:
    session = open_session(model(["\ud83d", "\ude00", "!"]))
    assert session.chat("hi") == "\U0001f600!"
    assert len(list(session.stream("hi"))) == 3
    assert session.messages[-1].content == "\U0001f600!"


@pytest.mark.parametrize("model", [Yields, AsyncYields])
def test_contents_add_up_in_order_and_all_text_is_streamed(open_session: Opener, model: Any) -> None:
    reasoning = {"type": "reasoning", "id": "rs", "summary": [], "status": None}
    part = {"type": "text", "text": " there", "annotations": ["a"]}
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "!"}]}
    session = open_session(model(["hel", "lo", reasoning, "you", {"content": [part]}, {"content": " again"}, said]))
    assert list(session.stream("hi")) == ["hel", "lo", "you", " there", " again", "!"]
    kept = {"type": "reasoning", "id": "rs", "summary": []}
    texts = [{"type": "text", "text": text} for text in ("hello", "you", " again!")]
    assert session.messages[-1].content == [texts[0], kept, texts[1], part, texts[2]]


@pytest.mark.parametrize("model", [Yields, AsyncYields])
def test_metadata_that_cannot_be_stored_is_refused_at_once(open_session: Opener, model: Any) -> None:
    session = open_session(model(["Hel", {"metadata": {"usage": {1: object()}}}, "lo"]))
    with pytest.raises(InvalidMessage, match="metadata"):
        list(session.stream("hi"))
    assert said(session)[1:] == [("assistant", "Hel", {"interrupted": True}, [])]


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_reader_that_leaves_closes_the_generator(kind: str) -> None:
    ended: list[str] = []

    class Endless:
        def generate(self, request: Request) -> Any:
            return self.plain() if kind == "sync" else self.awaited()

        def plain(self) -> Iterator[str]:
            try:
                while True:
                    yield "word "
            finally:
                ended.append("sync")

        async def awaited(self) -> AsyncIterator[str]:
            try:
                while True:
                    await asyncio.sleep(0)
                    yield "word "
            finally:
                ended.append("async")

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Endless()))
    for number, _ in enumerate(session.stream("go")):
        if number == 3:
            break
    assert ended == [kind]
    assert session.messages[-1].metadata == {"interrupted": True}


def test_an_async_reader_that_leaves_closes_the_generator() -> None:
    ended = asyncio.Event()

    class Endless:
        def generate(self, request: Request) -> Iterator[str]:
            try:
                while True:
                    yield "word "
            finally:
                loop.call_soon_threadsafe(ended.set)

    async def main() -> list[Message]:
        session = AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=Endless()))
        async with aclosing(session.stream("go")) as pieces:
            async for _ in pieces:
                break
        await asyncio.wait_for(ended.wait(), 10)
        return await session.messages

    with closing(asyncio.new_event_loop()) as loop:
        messages = loop.run_until_complete(main())
    assert [m.metadata for m in messages] == [{}, {"interrupted": True}]


def test_a_chat_that_is_cancelled_ends_its_generator() -> None:
    ended = threading.Event()

    class Endless:
        def generate(self, request: Request) -> Iterator[str]:
            try:
                while True:
                    time.sleep(0.01)
                    yield "word "
            finally:
                ended.set()

    async def main() -> None:
        session = AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=Endless()))
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(session.chat("go"), 0.1)

    asyncio.run(main())
    assert ended.wait(10)


def test_an_async_generator_that_never_waits_leaves_others_their_turn() -> None:
    class Endless:
        async def generate(self, request: Request) -> AsyncIterator[str]:
            while True:
                yield "word "

    async def main() -> list[Message]:
        session = AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=Endless()))
        async with aclosing(session.stream("go")) as pieces:
            async for _ in pieces:
                break
        return await session.messages

    assert [m.metadata for m in asyncio.run(asyncio.wait_for(main(), 20))] == [{}, {"interrupted": True}]


def test_what_the_first_answer_took_is_not_said_of_the_second(open_session: Opener) -> None:
    first = {**CALL, "name": "look"}
    model = ScriptedModel([{"tool_calls": [first], "metadata": {"usage": USAGE}}], ["partly", ValueError("gone")])
    session = open_session(model)
    with pytest.raises(ValueError, match="gone"):
        list(session.stream("hi"))
    assert session.messages[-1].metadata == {"interrupted": True}
    assert session.usage().input_tokens == USAGE["input_tokens"]


def test_a_model_may_take_its_options_out(open_session: Opener) -> None:
    seen: list[Any] = []

    class Takes:
        def generate(self, request: Request) -> str:
            seen.append(request.options.pop("temperature", None))
            return "x"

    session = open_session(Takes())
    session.agent.options["temperature"] = 1
    session.chat("one")
    session.chat("two")
    assert seen == [1, 1]


def test_a_reply_is_a_message_of_its_own(open_session: Opener) -> None:
    class Parrot:
        def generate(self, request: Request) -> Message:
            return request.messages[-1].replace(role="assistant")

    def again(turn: Any, call_next: Any) -> Any:
        return {**turn.message, **call_next(turn), "role": "assistant", "id": "fixed", "timestamp": 5, "turn": "t"}

    for options in ({}, {"middleware": [again]}):
        session = open_session(Parrot(), **options)
        for text in ("one", "two"):
            assert session.chat(text) == text
        ids = [message.id for message in session.messages]
        assert len({*ids}) == 4
        assert "fixed" not in ids
        assert len({message.turn for message in session.messages}) == 2
        session.undo()
        assert [message.text for message in session.messages] == ["one", "one"]


def test_what_an_answer_took_is_not_said_of_one_that_is_made_of_it(open_session: Opener) -> None:
    def cached(turn: Any, call_next: Any) -> Any:
        return known[0] if known else call_next(turn)

    known: list[Message] = []
    session = open_session(ScriptedModel({"content": "one", "metadata": {"mood": "good"}}, usage=USAGE), middleware=[cached])
    session.chat("q")
    known.append(session.messages[-1])
    assert session.chat("q again") == "one"
    assert session.messages[-1].metadata == {"mood": "good"}
    assert session.usage().input_tokens == USAGE["input_tokens"]


@pytest.mark.parametrize("answer", [{"content": "the answer"}, "the answer", lambda asked: {"content": "the answer"}])
def test_an_answer_that_comes_whole_is_one_piece_of_the_stream(open_session: Opener, answer: Any) -> None:
    class Both:
        asked = 0

        def generate(self, request: Request) -> Any:
            Both.asked += 1
            if Both.asked == 1:
                return iter(["let me look. ", {"tool_calls": [CALL]}])
            return answer(request) if callable(answer) else answer

    assert list(open_session(Both()).stream("q")) == ["let me look. ", "the answer"]
    calls = {"content": "let me look. ", "tool_calls": [CALL]}
    assert list(open_session(ScriptedModel(lambda asked: calls, "done")).stream("q")) == ["let me look. ", "done"]


def test_an_answer_that_comes_whole_is_stored_whole_though_its_reader_left() -> None:
    begun, go = threading.Event(), threading.Event()

    class Slow:
        def generate(self, request: Request) -> str:
            begun.set()
            go.wait(10)
            return "the answer"

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Slow()))
    pieces = session.stream("q")
    reader = threading.Thread(target=lambda: next(pieces, None))
    reader.start()
    assert begun.wait(10)
    go.set()
    reader.join()
    pieces.close()  # type: ignore[attr-defined]
    assert [(message.text, message.metadata) for message in session.messages][1] == ("the answer", {})


def test_equal_pieces_add_up(open_session: Opener) -> None:
    session = open_session(ScriptedModel([{"content": "ha"}, {"content": "ha"}, "ha", {"metadata": {"k": 1}}, "\ud83d"], ["x"]))
    assert list(session.stream("hi")) == ["ha", "ha", "ha", "\ud83d"]
    assert session.messages[-1].text == "hahaha\ufffd"
    halves = open_session(ScriptedModel(["\ud83d", {"metadata": {"k": 1}}, "\ude00"]))
    assert halves.chat("hi") == "\U0001f600"


def test_a_call_that_is_said_twice_is_made_once(open_session: Opener) -> None:
    asked: list[str] = []

    def look(where: str) -> str:
        asked.append(where)
        return "x"

    again = {**CALL, "arguments": {"where": "there"}}
    session = open_session(ScriptedModel([{"tool_calls": [CALL]}, {"tool_calls": [again]}], "done"))
    session.agent.tools = [tool(look)]
    session.chat("hi")
    assert asked == ["there"]
    assert [message.role for message in session.messages] == ["user", "assistant", "tool", "assistant"]


def test_what_an_answer_emits_that_is_over_reaches_nobody() -> None:
    stopped = threading.Event()

    class Slow:
        asked = 0

        def generate(self, request: Request) -> str:
            assert request.emit is not None
            Slow.asked += 1
            if Slow.asked > 1:
                time.sleep(0.3)
                request.emit("new")
                return "new"
            try:
                for _ in range(100):
                    request.emit("old ")
                    time.sleep(0.05)
            except TurnInterrupted:
                stopped.set()
            return "old"

    async def patient(turn: Any, call_next: Any) -> Any:
        try:
            return await asyncio.wait_for(call_next(turn), 0.2)
        except TimeoutError:
            return await call_next(turn)

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Slow()), middleware=[patient])
    pieces = list(session.stream("q"))
    assert stopped.wait(10)
    assert pieces[-1] == "new"
    assert len(pieces) <= 8
    assert session.messages[-1].content == "new"


def test_what_a_middleware_holds_back_is_not_said_again(open_session: Opener) -> None:
    def buffered(turn: Any, call_next: Any) -> Any:
        pieces: list[str] = []
        emit, turn.emit = turn.emit, pieces.append
        reply = call_next(turn)
        emit("".join(pieces))
        return reply

    class Empty:
        def generate(self, request: Request) -> str:
            if request.emit is not None:
                request.emit("")
            return "Hello"

    assert list(open_session(EchoModel(), middleware=[buffered]).stream("Hello world")) == ["Hello world"]
    assert list(open_session(Empty()).stream("q")) == ["Hello"]


class Stop(BaseException):
    """What no tool reports as its result."""


def test_a_call_whose_id_came_before_is_open_until_it_has_its_result(open_session: Opener) -> None:
    def look(where: str) -> str:
        if where == "there":
            raise Stop
        return "seen"

    calls = [{"tool_calls": [{"id": "1", "name": "look", "arguments": {"where": where}}]} for where in ("here", "there")]
    model = ScriptedModel(*calls, "one", "two")
    session = open_session(model)
    session.agent.tools = [tool(look)]
    with pytest.raises(Stop):
        session.chat("q")
    assert all(message.open for message in session.messages)
    assert session.chat("q") == "one"
    assert [message.role for message in session.messages] == ["user", *["assistant", "tool"] * 2, "assistant"]
    assert session.messages[-2].text.startswith("Error: this call was cut off")


# -- what it took


def test_usage_is_summed_up_by_model(open_session: Opener) -> None:
    session = open_session(ScriptedModel("one", "two", usage=USAGE))
    assert session.usage() == Usage()
    session.chat("hi")
    session.add_message("assistant", "of nobody")
    session.add_message("assistant", "other", usage={"output_tokens": 5})
    session.chat("hi again")
    usage = session.usage()
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == (24, 11, 8, 2)
    assert (usage.total_tokens, usage.replies, usage.unreported) == (35, 4, 1)
    assert {name: (of.input_tokens, of.output_tokens, of.replies) for name, of in usage.by_model.items()} == {
        "m-1": (24, 6, 2),
        "": (0, 5, 1),
    }


def test_what_was_taken_back_was_paid_for(open_session: Opener) -> None:
    session = open_session(ScriptedModel("one", "two", "three", usage=USAGE))
    session.add_message("assistant", "hello", usage={"output_tokens": 1})
    session.pop()
    assert (session.usage().replies, session.usage(reverted=True).output_tokens) == (0, 1)
    session.chat("first")
    session.chat("second")
    fork = session.fork(2, "fork")
    session.revert(2)
    session.chat("third")
    assert (session.usage().input_tokens, session.usage(reverted=True).input_tokens) == (24, 36)
    assert (fork.usage().input_tokens, fork.usage(reverted=True).input_tokens) == (12, 12)
    session.clear()
    assert (session.usage().replies, session.usage(reverted=True).replies) == (0, 4)
    assert session.usage(reverted=True).to_dict()["by_model"]["m-1"]["total_tokens"] == 3 * 15


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                name: st.one_of(st.integers(0, 10**6), st.integers(-5, -1), st.booleans(), st.text(max_size=3), st.none())
                for name in ("input_tokens", "output_tokens", "cached_tokens", "model", "other")
            },
        ),
        max_size=6,
    )
)
def test_what_cannot_be_summed_up_is_unreported(usages: list[dict[str, Any]]) -> None:
    session = Session("s", store=MemorySessionStore())
    for usage in usages:
        session.add_message("assistant", "x", {"usage": usage})
    names = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")
    good = [
        usage
        for usage in usages
        if usage.keys() & {*names} and all(usage.get(n) is None or (type(usage[n]) is int and usage[n] >= 0) for n in names)
    ]
    found = session.usage()
    assert (found.replies, found.unreported) == (len(usages), len(usages) - len(good))
    assert found.input_tokens == sum(usage.get("input_tokens") or 0 for usage in good)
    assert sum(of.output_tokens for of in found.by_model.values()) == found.output_tokens


# -- a model for tests


def test_a_script_is_followed_and_what_was_asked_is_known(open_session: Opener) -> None:
    model = ScriptedModel(
        "Hello there", {"tool_calls": [CALL]}, lambda request: request.messages[-1].text.upper(), ValueError("no")
    )
    session = open_session(model)
    assert list(session.stream("one")) == ["Hello ", "there"]
    assert session.chat("two") == "IT IS HERE"
    with pytest.raises(ValueError, match="no"):
        session.chat("three")
    assert model.remaining == 0
    with pytest.raises(AssertionError, match="the script has 4 replies, and was asked once more, for 'four': add one"):
        session.chat("four")
    assert [request.messages[-1].content for request in model.requests] == ["one", "two", "it is here", "three"]
    assert [tool.name for tool in model.requests[0].tools] == ["look"]


def test_replies_of_every_kind() -> None:
    async def later(request: Request) -> str:
        return "later"

    def pieces(request: Request) -> Iterator[str]:
        yield "in "
        yield "pieces"

    model = ScriptedModel(later, pieces, lambda request: ["a ", "list"], ["one piece", " more"], KeyError, usage=USAGE)
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    assert [list(session.stream("x")) for _ in range(4)] == [["later"], ["in ", "pieces"], ["a ", "list"], ["one piece", " more"]]
    with pytest.raises(KeyError):
        session.chat("x")
    model.requests.clear()
    assert model.remaining == 0
    for bad in (None, 5, dict):
        with pytest.raises(InvalidInput, match="is no reply: pass text"):
            ScriptedModel("x", bad)  # type: ignore[arg-type]


def test_the_fixtures_give_a_store_of_its_own(sessile_store: str, sessile_session: Session) -> None:
    sessile_session.agent = Agent(model=ScriptedModel("Hi"))
    assert sessile_session.chat("Hello") == "Hi"
    elsewhere = Session("by default")
    elsewhere.add_message("user", "x")
    with SessionManager(sessile_store) as manager:
        assert {header.session_id for header in manager.each()} == {sessile_session.session_id, "by default"}


def test_another_test_has_another_store(sessile_store: str) -> None:
    assert not [*SessionManager().each()]


def test_an_interruption_passes_through(open_session: Opener) -> None:
    session = open_session(ScriptedModel(["one", TurnInterrupted("enough")]))
    with pytest.raises(TurnInterrupted):
        list(session.stream("hi"))
    assert session.messages[-1].metadata == {"interrupted": True}
