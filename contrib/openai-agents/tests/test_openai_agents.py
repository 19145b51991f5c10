"""The adapter against the SDK's own SQLite session, and within the SDK's own runner."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from agents import Agent, Model, ModelResponse, Runner, Session, SQLiteSession, Usage, function_tool
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.responses import ResponseFunctionToolCall, ResponseOutputMessage, ResponseOutputText
from tests.killing import killed_while_it_writes

from sessile import MemorySessionStore
from sessile import Session as SessileBlocking
from sessile_openai_agents import SessileSession

_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
_items = st.one_of(
    st.fixed_dictionaries(
        {"role": st.sampled_from(["user", "assistant", "system", "developer"]), "content": st.text(max_size=5)},
        optional={"id": st.text(max_size=5), "status": st.just("completed"), "more": _json},
    ),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(st.fixed_dictionaries({"type": st.just("input_text")}))}),
    st.fixed_dictionaries(
        {
            "type": st.just("function_call"),
            "call_id": st.sampled_from("ab"),
            "name": st.just("f"),
            "arguments": st.sampled_from(["{}", '{"x": 1}', "broken", "null", '{"x": NaN}']),
        }
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": st.sampled_from("ab"), "output": _json}),
    st.fixed_dictionaries({"type": st.just("reasoning"), "id": st.text(max_size=5), "summary": st.just([])}),
)
_steps = st.lists(
    st.tuples(st.just("add"), st.lists(_items, max_size=3))
    | st.tuples(st.just("get"), st.integers(0, 4) | st.none())
    | st.tuples(st.just("pop"), st.none())
    | st.tuples(st.just("clear"), st.none()),
    max_size=12,
)


@settings(suppress_health_check=list(HealthCheck), max_examples=60, deadline=None)
@given(steps=_steps)
def test_it_does_what_the_sdks_own_session_does(steps: list[tuple[str, Any]]) -> None:
    async def main() -> None:
        ours, theirs = SessileSession("s", store=MemorySessionStore()), SQLiteSession("s")
        for verb, argument in steps:
            results = []
            for session in (ours, theirs):
                if verb == "add":
                    results.append(await session.add_items(argument))
                elif verb == "get":
                    results.append(await session.get_items(argument))
                elif verb == "pop":
                    results.append(await session.pop_item())
                else:
                    results.append(await session.clear_session())
            assert results[0] == results[1]
            assert await ours.get_items() == await theirs.get_items()
        assert await ours.session.verify()
        theirs.close()

    asyncio.run(main())


class Weather(Model):
    """A model that asks for the weather, and then tells it."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    async def get_response(self, system_instructions: Any, input: Any, *args: Any, **kwargs: Any) -> ModelResponse:
        self.seen.append(input)
        last = input[-1] if isinstance(input, list) else {}
        if last.get("type") == "function_call_output":
            text = ResponseOutputText(type="output_text", text=f"It is {last['output']}.", annotations=[])
            answer: Any = ResponseOutputMessage(id="m", type="message", role="assistant", status="completed", content=[text])
        else:
            answer = ResponseFunctionToolCall(type="function_call", call_id=f"c{len(self.seen)}", name="weather", arguments="{}")
        return ModelResponse(output=[answer], usage=Usage(), response_id=None)

    def stream_response(self, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError  # `Runner.run` does not stream


@function_tool
def weather() -> str:
    """The weather."""
    return "sunny"


def test_the_sdks_runner_goes_on_with_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/chats.db"
    model = Weather()
    agent = Agent("A", model=model, tools=[weather])
    for question in ("What is the weather?", "And now?"):
        session = SessileSession("s", store=url)
        assert isinstance(session, Session)
        result = asyncio.run(Runner.run(agent, question, session=session))
        assert result.final_output == "It is sunny."
        asyncio.run(session.close())
    assert len(model.seen[-1]) == 7  # all that was said before, too
    with SessileBlocking("s", store=url) as known:  # as everybody sees it
        said = [(message.role, message.text, [call["name"] for call in message.tool_calls]) for message in known.messages]
    once = [("assistant", "", ["weather"]), ("tool", "sunny", []), ("assistant", "It is sunny.", [])]
    assert said == [("user", "What is the weather?", []), *once, ("user", "And now?", []), *once]


def test_what_another_framework_said_comes_as_items() -> None:
    store = MemorySessionStore()
    session = SessileBlocking("s", store=store)
    calls = [{"id": name, "name": "f", "arguments": {"x": 1}} for name in "cd"]
    session.add_messages(
        [
            ("user", "hi"),
            {"role": "assistant", "content": "let me see", "tool_calls": calls},
            *({"role": "tool", "content": f"done {name}", "tool_call_id": name} for name in "cd"),
            ("assistant", "bye"),
        ]
    )
    items = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "let me see"},
        *({"type": "function_call", "call_id": name, "name": "f", "arguments": '{"x": 1}'} for name in "cd"),
        *({"type": "function_call_output", "call_id": name, "output": f"done {name}"} for name in "cd"),
        {"role": "assistant", "content": "bye"},
    ]

    async def main() -> None:
        adapted = SessileSession("s", store=store)
        for count in range(len(items), 0, -1):
            assert await adapted.get_items() == items[:count]
            assert await adapted.get_items(limit=2) == items[:count][-2:]
            assert await adapted.pop_item() == items[count - 1]
        assert await adapted.pop_item() is None

    asyncio.run(main())


def test_calls_that_are_made_at_once_are_one_message_for_everybody() -> None:
    store = MemorySessionStore()
    calls = [{"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"} for name in "cd"]
    outputs = [{"type": "function_call_output", "call_id": name, "output": name} for name in "cd"]
    reasoning = {"type": "reasoning", "id": "r", "summary": []}
    text = {"role": "assistant", "content": [{"type": "output_text", "text": "bye"}]}
    asyncio.run(
        SessileSession("s", store=store).add_items([{"role": "user", "content": "hi"}, reasoning, *calls, *outputs, text])
    )
    said = SessileBlocking("s", store=store).messages
    assert [message.role for message in said] == ["user", "assistant", "tool", "tool", "assistant"]
    assert [call["id"] for call in said[1].tool_calls] == ["c", "d"]
    assert said[-1].text == "bye"


@pytest.mark.parametrize(
    "arguments",
    [
        "null",
        "[1]",
        '"x"',
        '{"a": NaN}',
        '{"a": 1e999}',
        "{",
        "",
        '{"a": "\\ud83d"}',
        "[" * 3000 + "]" * 3000,
        '{"a":' * 900 + "1" + "}" * 900,
    ],
    ids=range(10),
)
def test_odd_arguments_of_a_call_are_kept(arguments: str) -> None:
    async def main() -> None:
        session = SessileSession("s", store=MemorySessionStore())
        item = {"type": "function_call", "call_id": "c", "name": "f", "arguments": arguments}
        await session.add_items([item])
        assert await session.get_items() == [item]

    asyncio.run(main())


@pytest.mark.parametrize("raw", ['{"text":  "Hello"}', "<msg>Hello</msg>", "17", "[1]", '{"openai-agents": 3}'])
def test_another_frameworks_original_is_left_alone(raw: str) -> None:
    store = MemorySessionStore()
    parts = [{"type": "text", "text": "what is this?"}, {"type": "image_url", "image_url": {"url": "data:x"}}]
    with SessileBlocking("s", store=store) as session:
        session.commit(messages=[{"role": "user", "content": "Hello", "raw": raw}])
        session.add_message("user", parts, raw=raw)

    async def main() -> None:
        adapted = SessileSession("s", store=store)
        items = [
            {"role": "user", "content": "Hello"},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "what is this?"},
                    {"type": "input_image", "image_url": "data:x", "detail": "auto"},
                ],
            },
        ]
        assert await adapted.get_items() == items
        assert [await adapted.pop_item() for _ in range(3)] == [items[1], items[0], None]

    asyncio.run(main())


def test_a_pop_is_one_commit_whatever_others_say_in_between() -> None:
    store = MemorySessionStore()
    call = {"type": "function_call", "name": "f", "arguments": "{}"}

    async def main() -> None:
        ours, other = SessileSession("s", store=store), SessileSession("s", store=store)
        await ours.add_items([{"role": "user", "content": "1"}, {"role": "user", "content": "2"}])
        read = ours.session.get_history
        said = iter([[{**call, "call_id": name} for name in "abc"], [{"role": "user", "content": "meanwhile"}]])

        async def read_while_others_speak(limit: int) -> Any:
            found = await read(limit)
            if items := next(said, None):
                await other.add_items(items)
            return found

        ours.session.get_history = read_while_others_speak  # type: ignore[method-assign]
        before = await other.session.version
        assert (await ours.pop_item())["content"] == "meanwhile"
        assert await other.session.version > before
        assert (await ours.pop_item())["call_id"] == "c"
        assert [item.get("call_id", item.get("content")) for item in await other.get_items()] == ["1", "2", "a", "b"]

    asyncio.run(main())


def test_who_take_back_at_once_each_get_another_item(tmp_path: Path) -> None:
    """Some items are one message for others, so it is taken back in parts."""
    calls = [{"type": "function_call", "call_id": name, "name": "f", "arguments": "{}"} for name in "cdefg"]
    texts = [{"role": "user", "content": text} for text in "abz"]
    items: list[Any] = [*texts[:2], *calls, texts[2]]

    async def main() -> None:
        sessions = [SessileSession("s", store=f"sqlite:///{tmp_path}/chats.db") for _ in range(4)]
        await sessions[0].add_items(items)
        popped = await asyncio.gather(*[session.pop_item() for session in sessions])
        left = await sessions[0].get_items()
        assert len(left) == len(items) - len(popped)
        assert sorted(map(repr, [*left, *popped])) == sorted(map(repr, items))
        for session in sessions:
            await session.close()

    asyncio.run(main())


_WRITER = """
import asyncio, sys
from sessile_openai_agents import SessileSession

async def main():
    session = SessileSession("s", store=sys.argv[1])
    number = 0
    while True:
        await session.add_items([{"role": "user", "content": f"{number} {part}"} for part in "abc"])
        print(number, flush=True)
        number += 1

asyncio.run(main())
"""


@pytest.mark.parametrize("scheme", ["sqlite:///{}/chats.db", "file://{}/chats"])
def test_items_that_are_added_together_are_there_together(scheme: str, tmp_path: Path) -> None:
    url = scheme.format(tmp_path)
    for _ in killed_while_it_writes(_WRITER, url):
        contents = [item["content"] for item in asyncio.run(SessileSession("s", store=url).get_items())]
        assert contents
        assert len(contents) % 3 == 0
        assert [text[-1] for text in contents] == [*"abc"] * (len(contents) // 3)
