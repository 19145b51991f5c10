"""The hook `recall`: what it brings is asked for once a turn, fits the prompt's budget, and is never stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faces import FACES, opener

from sessile import Agent, MemorySessionStore, Message, Session, Turn, hookimpl
from sessile.errors import PluginError
from sessile.testing import ScriptedModel

CALL = {"tool_calls": [{"id": "c", "name": "look", "arguments": {}}]}
Opener = Callable[..., Any]


def look() -> str:
    """Look somewhere."""
    return "seen " * 40


@pytest.fixture(params=FACES)
def open_session(request: pytest.FixtureRequest) -> Iterator[Opener]:
    with closing(asyncio.new_event_loop()) as loop:
        yield lambda *plugins, **options: opener(request.param, loop)("s", store=MemorySessionStore(), plugins=plugins, **options)


class Brings:
    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.asked: list[tuple[str, int, int]] = []

    def recall(self, session: Session, turn: Turn, room: Any) -> list[Any]:
        self.asked.append((turn.message.text, turn.step, room.tokens))
        return [{"role": "system", "content": text} for text in self.texts]


class AsyncBrings(Brings):
    async def recall(self, session: Any, turn: Turn, room: Any) -> list[Any]:
        assert await session.message_count == len(turn.said)
        return super().recall(session, turn, room)


def prompts(model: ScriptedModel) -> list[list[str]]:
    return [[message.text.strip() for message in request.messages] for request in model.requests]


@pytest.mark.parametrize("kind", [Brings, AsyncBrings])
def test_it_is_asked_once_a_turn_and_what_it_brings_is_not_stored(open_session: Opener, kind: Any) -> None:
    model, brings = ScriptedModel(CALL, "done"), kind("Ann likes tea")
    session = open_session(brings, agent=Agent("A", "Be brief.", model=model, tools=[look], budget=200))
    assert session.chat("what do I like?") == "done"
    first = ["Be brief.", "Ann likes tea", "what do I like?"]
    assert [prompt[:3] for prompt in prompts(model)] == [first, first]
    assert [len(prompt) for prompt in prompts(model)] == [3, 5]
    assert brings.asked == [("what do I like?", 0, 200 - (len("Be brief.") // 4 + 5) - (len("what do I like?") // 4 + 5))]
    assert [message.role for message in session.messages] == ["user", "assistant", "tool", "assistant"]


def test_history_fills_what_it_leaves(open_session: Opener) -> None:
    model = ScriptedModel("one", "two")
    session = open_session(Brings("x" * 200), agent=Agent(model=model, budget=100))
    session.add_messages([("user", "y" * 120), ("assistant", "z" * 40)])
    session.chat("q")
    assert prompts(model) == [["x" * 200, "q"]]  # 55 and 5 tokens; the turn before takes 35 and 15


def test_plugins_share_the_room_in_the_order_they_are_called(open_session: Opener) -> None:
    model = ScriptedModel("one")
    last, first = Brings("last a", "l" * 4000), Brings("first a", "first b")
    session = open_session(last, first, agent=Agent(model=model, budget=60))
    session.chat("q")
    assert prompts(model) == [["first a", "first b", "last a", "q"]]
    assert [asked[2] for asked in (first.asked[0], last.asked[0])] == [55, 55 - 6 - 6]


def test_the_room_counts_as_the_model_does(open_session: Opener) -> None:
    class Counts(ScriptedModel):
        budget = 30

        def count_tokens(self, text: str) -> int:
            return len(text)

    class Looks(Brings):
        def recall(self, session: Session, turn: Turn, room: Any) -> list[Any]:
            assert (room.count("abc"), room.count(Message(role="user", content="abc"), "d")) == (7, 12)
            return super().recall(session, turn, room)

    model, looks = Counts("one"), Looks("a" * 10, "b" * 10)
    open_session(looks, agent=Agent(model=model)).chat("q")
    assert looks.asked == [("q", 0, 25)]
    assert prompts(model) == [["a" * 10, "q"]]


@pytest.mark.parametrize("brought", ["text", [7], {"role": "user"}, [{"role": "robot", "content": "x"}]])
def test_what_it_cannot_bring_is_named(open_session: Opener, brought: Any) -> None:
    class Odd:
        def recall(self) -> Any:
            return brought

    good = Brings("good")
    assert open_session(good, Odd(), agent=Agent(model=ScriptedModel("one"))).chat("q") == "one"
    assert good.asked
    with pytest.raises(PluginError, match="'recall'"):
        open_session(Odd(), agent=Agent(model=ScriptedModel("one")), strict=True).chat("q")


def test_a_wrapper_sees_all_that_is_brought(open_session: Opener) -> None:
    class Around:
        @hookimpl(wrapper=True)
        def recall(self) -> Iterator[None]:
            found: Any = yield
            return [[message for messages in found for message in messages][::-1]]  # type: ignore[return-value]

    model = ScriptedModel("one")
    open_session(Brings("a", "b"), Around(), agent=Agent(model=model)).chat("q")
    assert prompts(model) == [["b", "a", "q"]]


texts = st.text("ab ", max_size=200)


@given(st.integers(1, 300), texts, st.lists(texts, max_size=4), st.lists(texts, max_size=6), st.lists(texts, max_size=6))
def test_a_prompt_never_exceeds_its_budget(
    budget: int, instructions: str, first: list[str], second: list[str], said: list[str]
) -> None:
    model = ScriptedModel("one")
    agent = Agent("A", instructions, model=model, budget=budget)
    session = Session("s", store=MemorySessionStore(), plugins=[Brings(*second), Brings(*first)], agent=agent)
    session.add_messages([("user" if number % 2 == 0 else "assistant", text) for number, text in enumerate(said)])
    session.chat("q")
    (request,) = model.requests

    def tokens(messages: list[str]) -> int:
        return sum(len(text) // 4 + 5 for text in messages)

    sent = [message.text for message in request.messages]
    always = [instructions] * bool(instructions) + ["q"]
    assert tokens(sent) <= max(budget, tokens(always))
    assert sent[: len(always) - 1] + sent[-1:] == always
    recalled = _fitting([first, second], budget - tokens(always))
    assert sent[len(always) - 1 :][: len(recalled)] == recalled


def _fitting(lists: list[list[str]], room: int) -> list[str]:
    """What has room of what each plugin brings: from its first on, until one has none."""
    taken: list[str] = []
    for brought in lists:
        for text in brought:
            if len(text) // 4 + 5 > room:
                break
            room -= len(text) // 4 + 5
            taken.append(text)
    return taken


def test_what_a_plugin_takes_of_its_room_is_its_own_matter(open_session: Opener) -> None:
    class Takes(Brings):
        def recall(self, session: Session, turn: Turn, room: Any) -> list[Any]:
            room.tokens -= 3
            taken: list[Any] = room.take([Message(role="system", content=text) for text in self.texts])
            return taken

    model = ScriptedModel("one")
    session = open_session(last := Brings("z"), Takes("a", "b"), agent=Agent(model=model, budget=60))
    session.chat("q")
    assert prompts(model) == [["a", "b", "z", "q"]]
    assert last.asked == [("q", 0, 55 - 5 - 5)]


def test_it_runs_again_only_for_another_question_or_agent(open_session: Opener) -> None:
    brings = Brings("a")

    def twice(turn: Turn, call_next: Any) -> Any:
        call_next(turn)
        return call_next(turn)

    def other(turn: Turn, call_next: Any) -> Any:
        call_next(turn)
        turn.content = "changed"
        return call_next(turn)

    agent = Agent(model="echo")
    assert open_session(brings, agent=agent, middleware=[twice]).chat("q") == "q"
    assert [asked[0] for asked in brings.asked] == ["q"]
    open_session(brings, agent=agent, middleware=[other]).chat("r")
    assert [asked[0] for asked in brings.asked] == ["q", "r", "changed"]


def test_what_belongs_to_a_call_is_refused(open_session: Opener) -> None:
    class Calls:
        def recall(self, room: Any) -> list[Any]:
            assert room.count({"role": "system", "content": "x" * 100}) == 30
            return [{"role": "tool", "content": "x", "tool_call_id": "c"}]

    model = ScriptedModel("one")
    assert open_session(Calls(), agent=Agent(model=model)).chat("q") == "one"
    assert prompts(model) == [["q"]]
    with pytest.raises(PluginError, match="which belongs to a call"):
        open_session(Calls(), agent=Agent(model=ScriptedModel("one")), strict=True).chat("q")
