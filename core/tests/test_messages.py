"""Messages: what is taken from whom, what is refused, and what reading one never does."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from tests.faces import FACES, opener

from sessile import Agent, AsyncSession, MemorySessionStore, Message, Session
from sessile.errors import InvalidInput, InvalidMessage, SessileError


@pytest.fixture(params=[Session, AsyncSession])
def add(request: pytest.FixtureRequest) -> Any:
    """Adds messages to a session of either face, and returns them and what is stored afterwards."""
    store = MemorySessionStore()

    def added(*messages: Any) -> list[Message]:
        if request.param is Session:
            Session("s", store=store).add_messages(messages)
        else:
            asyncio.run(awaited(messages))
        return Session("s", store=store).messages

    async def awaited(messages: Any) -> None:
        async with AsyncSession("s", store=store) as session:
            await session.add_messages(messages)

    added.store = store  # type: ignore[attr-defined]
    return added


def test_what_one_writes_to_a_missing_part_shows_in_no_other_message(add: Any) -> None:
    one, two = add(("user", "one"), ("user", "two"))
    one.metadata["k"] = 1
    one.tool_calls.append("x")
    assert (two.metadata, two.tool_calls) == ({}, [])
    assert (Message(role="user").metadata, Message(role="user").tool_calls) == ({}, [])


@pytest.mark.parametrize("content", [[None], [5], ["fine", b"x"], [["nested"]], [{"type": "text", "text": "a"}, 1.5]])
def test_a_part_that_is_neither_text_nor_a_dict_is_refused(add: Any, content: Any) -> None:
    with pytest.raises(InvalidMessage, match=r"content\[\d\] is .*: a part of a content is text or a dict"):
        add(("user", content))
    assert add.store.load("s") is None


@pytest.mark.parametrize("content", [None, 7, {"a": 1}, [None, "a", {"text": None}, {"text": 5}, {"text": "b"}, [1]], [[]]])
def test_the_text_of_what_another_version_stored_is_there(content: Any) -> None:
    assert Message(role="user", content=content).text in ("", "ab")


@pytest.mark.parametrize("deep", ["list", "itself", "digits", "inner digits"])
def test_json_that_no_reader_takes_is_refused(deep: str) -> None:
    value: Any = [10**5000] if deep == "inner digits" else 10**5000 if deep == "digits" else []
    if deep == "itself":
        value.append(value)
    for _ in range(100_000 if deep == "list" else 0):
        value = [value]
    session = Session("s", store=MemorySessionStore())
    for attempt in (lambda: session.add_message("user", "x", k=value), lambda: session.set_state("k", value)):
        with pytest.raises(InvalidInput, match="JSON"):
            attempt()
    assert session.store.load("s") is None


def test_a_history_that_moves_in_keeps_its_dates(add: Any) -> None:
    moment = datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    forms = [moment, moment.timestamp(), int(moment.timestamp()), "2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z"]
    messages = add(*[{"role": "user", "content": "x", "timestamp": form} for form in forms])
    assert [m.timestamp for m in messages] == [moment.timestamp()] * len(forms)
    other = Session("other", store=MemorySessionStore())
    other.set_history(messages)
    assert [(m.id, m.timestamp) for m in other.messages] == [(m.id, m.timestamp) for m in messages]


@pytest.mark.parametrize("bad", ["soon", -1, float("nan"), 1.7e12, True, b"x", "2024-05-01", datetime(2024, 5, 1)])
def test_a_moment_that_is_none_is_refused(add: Any, bad: Any) -> None:
    with pytest.raises(InvalidMessage, match="message 2 of 3: a message's timestamp is a moment, not"):
        add(("user", "x"), {"role": "user", "content": "x", "timestamp": bad}, ("user", "y"))
    assert add.store.load("s") is None


def test_messages_as_openai_has_them(add: Any) -> None:
    class Dumped:
        """As pydantic's models are dumped, which SDKs return."""

        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields)
            self.fields = fields

        def model_dump(self, mode: str) -> dict[str, Any]:
            return self.fields

    def called(number: int) -> dict[str, Any]:
        return {"type": "function_call", "id": "fc", "call_id": f"c{number}", "name": "f", "arguments": f'{{"n": {number}}}'}

    messages = add(
        {"role": "developer", "content": "be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        called(1),
        Dumped(**called(2)),
        {"type": "function_call_output", "call_id": "c1", "output": "one"},
        {"type": "function_call_output", "call_id": "c2", "output": "two"},
        Dumped(role="assistant", content="done", tool_calls=None, refusal=None),
    )
    assert [(m.role, m.text) for m in messages] == [
        ("system", "be brief"),
        ("user", "hi"),
        ("assistant", ""),
        ("tool", "one"),
        ("tool", "two"),
        ("assistant", "done"),
    ]
    assert messages[2].tool_calls == [{"id": f"c{n}", "name": "f", "arguments": {"n": n}} for n in (1, 2)]
    assert [m.tool_call_id for m in messages[3:5]] == ["c1", "c2"]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ({"type": "computer_call", "summary": []}, "an item of type 'computer_call' is no message"),
        ({"role": "user", "content": "x", "id": 7}, "a message's id is a string"),
        ({"role": "user", "content": "x", "name": []}, ""),
        ({"role": "tool", "content": "x", "tool_call_id": 7}, "a message's tool_call_id is a string"),
        ({"role": "assistant", "tool_calls": 5}, "tool_calls are a list"),
        ({"role": "assistant", "tool_calls": [{"function": 5}]}, "a tool call has a name"),
        ({"role": "user", "content": "x", 5: 6}, "has the key 5"),
        ({"role": ["user"], "content": "x"}, "role is one of"),
        ({"role": "user", "content": "x", "id": "one"}, r"has the id of message 1, 'one'"),
        (type("Class", (), {"model_dump": 1}), "not a message"),
    ],
)
def test_the_number_of_the_message_that_is_wrong_is_said(add: Any, bad: Any, why: str) -> None:
    values = [{"role": "user", "content": "x", "id": "one"}, ("user", "y"), bad]
    if not why:  # as good as not given
        assert len(add(*values)) == 3
        return
    with pytest.raises(InvalidMessage, match=f"message 3 of 3.*{why}"):
        add(*values)
    assert add.store.load("s") is None
    with pytest.raises(InvalidMessage, match="message 3 of 3"):
        Session("s", store=add.store).set_history(values)
    assert add.store.load("s") is None


@pytest.mark.parametrize("answer", [Message(role="assistant", content=[None]), Message(role="user", content="x"), 7, None])
def test_what_a_model_answers_is_checked(answer: Any) -> None:
    class Odd:
        def generate(self, request: Any) -> Any:
            return answer

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Odd()))
    with pytest.raises(SessileError):
        session.chat("x")
    assert [m.role for m in session.messages] == ["user"]


@pytest.mark.parametrize("face", FACES)
def test_what_a_message_has_of_its_own_is_no_metadata(face: str) -> None:
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=MemorySessionStore())
    calls = [{"id": "c1", "name": "weather", "arguments": {"city": "Oslo"}}]
    asked = session.add_message("assistant", None, tool_calls=calls)
    told = session.add_message("tool", "sunny", tool_call_id="c1", name="weather", source="radio")
    assert asked.tool_calls == calls
    assert (told.tool_call_id, told.name, told.metadata) == ("c1", "weather", {"source": "radio"})
    assert session.add_message("user", "x", id="mine", timestamp=7).timestamp == 7.0
    with pytest.raises(InvalidMessage, match="tool_call_id is a string, not 5"):
        session.add_message("tool", "sunny", tool_call_id=5)
    assert [said.id for said in session.messages] == [asked.id, told.id, "mine"]
    loop.close()


def test_messages_whose_ids_repeat_are_all_there(add: Any) -> None:
    first, reply, _ = add(("user", "A"), ("assistant", "B"), ("user", "C"))
    add(first)
    add({"role": "user", "content": "D", "id": "1"}, ("assistant", "E"))
    found = add({"role": "user", "content": "F", "id": "1"}, reply)
    assert [said.text for said in found] == ["A", "B", "C", "A", "D", "E", "F", "B"]
    session = Session("s", store=add.store, agent=Agent(model="echo"))
    assert session.message_count == len(found)
    assert [said.text for said in session.get_history(3)] == ["E", "F", "B"]
    fork = session.fork(4)
    for said in session.messages[4:]:
        fork.add_messages([said])
    assert [said.text for said in fork.messages] == [said.text for said in found]
    assert [said.text for said in fork.merge(session).messages] == [said.text for said in found]


def test_a_result_is_named_after_its_call_and_keeps_its_original(add: Any) -> None:
    call = {"id": "c", "name": "look", "arguments": {}}
    messages = add(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "there", "tool_call_id": "c", "raw": "kept", "channel": "web"},
        {"role": "tool", "content": "there", "tool_call_id": "of another"},
        {"role": "tool", "content": "there", "tool_call_id": "c", "name": "its own"},
    )
    assert [(m.name, m.raw, m.get("channel")) for m in messages[1:]] == [
        ("look", "kept", "web"),
        (None, None, None),
        ("its own", None, None),
    ]
