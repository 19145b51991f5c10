"""A question whose turn failed, said again: the turn goes on from the stored one only while that is the last thing said."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session
from sessile.errors import Conflict
from sessile.testing.limits import at_once

TEXTS = st.sampled_from(["yes", "no"])


class Moody:
    """A model that answers or fails as it is told, and checks that it is asked what was said."""

    fails = False

    def __init__(self) -> None:
        self.prompt: list[str] = []

    def generate(self, request: Request) -> str:
        self.prompt = [m.content for m in request.messages]
        if self.fails:
            raise RuntimeError("down")
        return "fine"


class SayingAgain(RuleBasedStateMachine):
    """Against a list of turns, each a list of (number, text); the number of a question is what it is known by."""

    face = "blocking"

    def __init__(self) -> None:
        super().__init__()
        self.model = Moody()
        self.loop = asyncio.new_event_loop()
        self.store = MemorySessionStore()
        options: Any = {"store": self.store, "agent": Agent(model=self.model, window=10_000, budget=10**9)}
        self.session: Any = Session("s", **options) if self.face == "blocking" else AsyncSession("s", **options)
        self.other = Session("s", store=self.store, agent=Agent(model="echo"))
        self.numbers = itertools.count()
        self.turns: list[list[tuple[int, str]]] = []
        self.failed: int | None = None

    def teardown(self) -> None:
        self.loop.close()

    def do(self, verb: str, *arguments: Any) -> Any:
        result = getattr(self.session, verb)(*arguments)
        return self.loop.run_until_complete(result) if self.face == "async" else result

    def said(self, text: str) -> tuple[int, str]:
        return next(self.numbers), text

    @rule(text=TEXTS, fails=st.booleans())
    def chat(self, text: str, fails: bool) -> None:
        if not self.turns or self.turns[-1][-1] != (self.failed, text):
            self.turns.append([self.said(text)])
        self.model.fails, self.failed = fails, None
        if fails:
            with pytest.raises(RuntimeError, match="down"):
                self.do("chat", text)
            self.failed = self.turns[-1][-1][0]
        else:
            assert self.do("chat", text) == "fine"
            self.turns[-1].append(self.said("fine"))
        assert self.model.prompt[-1] == text
        assert self.model.prompt.count(text) <= sum(text == said for turn in self.turns for _, said in turn)

    @rule(text=TEXTS)
    def another_writes(self, text: str) -> None:
        self.other.add_message("user", text)
        self.turns.append([self.said(text)])

    @rule(text=TEXTS)
    def another_chats(self, text: str) -> None:
        assert self.other.chat(text) == text
        self.turns.append([self.said(text), self.said(text)])

    @rule()
    def the_state_changes(self) -> None:
        self.do("increment_state", "n")

    @precondition(lambda self: self.turns)
    @rule(back=st.booleans())
    def undo(self, back: bool) -> None:
        self.do("undo")
        if back:
            self.do("redo")
        else:
            self.turns.pop()

    @precondition(lambda self: self.turns)
    @rule(data=st.data())
    def revert(self, data: Any) -> None:
        kept = data.draw(st.integers(0, sum(map(len, self.turns))))
        self.do("revert", kept)
        for turn in self.turns:
            del turn[max(kept, 0) :]
            kept -= len(turn)
        self.turns = [turn for turn in self.turns if turn]

    @rule(text=TEXTS)
    def set_history(self, text: str) -> None:
        self.do("set_history", [("system", "anew"), ("user", text)])
        self.turns = [[self.said("anew")], [self.said(text)]]

    @invariant()
    def the_history_is_what_was_said(self) -> None:
        expected = [text for turn in self.turns for _, text in turn]
        assert [m.content for m in self.do("get_history")] == expected
        assert [m.content for m in Session("s", store=self.store).messages] == expected


class AsyncSayingAgain(SayingAgain):
    face = "async"


@pytest.mark.parametrize("machine", [SayingAgain, AsyncSayingAgain])
def test_a_failed_question_said_again(machine: Any, pytestconfig: pytest.Config) -> None:
    examples = 1000 if pytestconfig.getoption("--full") else 60
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=15, deadline=None, suppress_health_check=checks)
    )


@pytest.mark.parametrize("known", [True, False])
def test_an_answer_whose_question_was_taken_back_meanwhile_is_a_turn_of_its_own(known: bool) -> None:
    store = MemorySessionStore()

    class Slow:
        def generate(self, request: Request) -> str:
            Session("s", store=store).set_history([("user", "instead")])
            return "late"

    session = Session("s", store=store, agent=Agent(model=Slow()))
    assert session.chat("asked") == "late"
    assert [message.content for message in session.messages] == ["instead", "late"]
    session = session if known else Session("s", store=store)
    assert [message.content for message in session.get_history(1)] == ["late"]
    session.undo()  # however much of the past it has read
    assert [message.content for message in session.messages] == ["instead"]


class Charging:
    """A model that has something charged, and is down before it says so."""

    fails = True

    def generate(self, request: Request) -> Any:
        if request.messages[-1].role != "tool":
            return {"role": "assistant", "content": None, "tool_calls": [{"name": "charge", "arguments": {}}]}
        if self.fails:
            raise RuntimeError("down")
        return f"charged: {[said.content for said in request.messages if said.role == 'tool']}"


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_turn_goes_on_with_what_its_tools_did(meanwhile: bool) -> None:
    charges: list[int] = []

    def charge() -> int:
        charges.append(5)
        return 5

    model = Charging()
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, tools=[charge]))
    with pytest.raises(RuntimeError, match="down"):
        session.chat("pay")
    model.fails = False
    if meanwhile:
        Session("s", store=session.store).add_message("user", "wait")
    assert session.chat("pay") == "charged: ['5']"
    assert charges == ([5, 5] if meanwhile else [5])
    assert [said.role for said in session.messages if said.turn] == ["user", "assistant", "tool"] * meanwhile + [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]


@pytest.mark.parametrize("face", ["blocking", "async"])
def test_at_most_one_of_those_who_say_it_again_at_once_goes_on_with_it(face: str) -> None:
    model = Moody()
    model.fails = True
    options: Any = {"store": MemorySessionStore(), "agent": Agent(model=model)}

    async def main() -> None:
        async with AsyncSession("s", **options) as session:
            with pytest.raises(RuntimeError, match="down"):
                await session.chat("hi")
            model.fails = False
            await asyncio.gather(*[session.chat("hi") for _ in range(3)])

    if face == "async":
        asyncio.run(main())
    else:
        blocking = Session("s", **options)
        with pytest.raises(RuntimeError, match="down"):
            blocking.chat("hi")
        model.fails = False
        at_once(*[lambda: blocking.chat("hi") for _ in range(3)])
    answered = [
        m for m in Session("s", **options).messages if not m.open
    ]  # the first is, where another was said before it went on
    assert [(m.role, m.content) for m in answered] == [("user", "hi"), ("assistant", "fine")] * 3
    assert len({m.turn for m in answered}) == 3


@pytest.mark.parametrize("change", [lambda other: other.add_message("user", "theirs"), lambda other: other.revert(0)])
def test_what_others_did_since_it_failed_is_not_passed_over(change: Any) -> None:
    model = Moody()
    model.fails = True
    store = MemorySessionStore()
    session = Session("s", store=store, agent=Agent(model=model), on_conflict="raise")
    with pytest.raises(RuntimeError, match="down"):
        session.chat("hi")
    model.fails = False
    change(Session("s", store=store))
    with pytest.raises(Conflict):
        session.chat("hi")
    before = [said.content for said in session.messages]
    session.chat("hi")
    assert [said.content for said in session.messages] == [*before, "hi", "fine"]


def test_a_question_that_was_undone_and_redone_often_is_gone_on_with() -> None:
    model = Moody()
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    model.fails = True
    with pytest.raises(RuntimeError):
        session.chat("yes")
    for _ in range(5):
        session.undo()
        session.redo()
    model.fails = False
    session.chat("yes")
    question, reply = session.messages
    assert question.turn == reply.turn
    session.undo()
    assert session.messages == []
