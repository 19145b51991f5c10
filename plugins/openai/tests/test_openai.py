"""The OpenAI plugin against a real server of that API: llama.cpp's own, with a real model behind it."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session
from sessile.errors import ModelError
from sessile_openai import OpenAIModel
from sessile_smollm.model import find_weights, load

# Teaches a model that never learned it to call tools, in the form that llama.cpp's server reads.
TEMPLATE = (Path(__file__).parent / "tools.jinja").read_text()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = load(find_weights(), api_keys=["key"], chat_template=TEMPLATE)
    yield f"{server.listening_address}/v1"
    del server


@pytest.fixture(autouse=True)
def _closed_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every model that a test makes is closed behind it."""
    made: list[OpenAIModel] = []
    begin = OpenAIModel.__init__

    def remember(self: OpenAIModel, *args: Any, **kwargs: Any) -> None:
        begin(self, *args, **kwargs)
        made.append(self)

    monkeypatch.setattr(OpenAIModel, "__init__", remember)
    yield
    for model in made:
        model.close()


def session_with(url: str, tools: Any = (), **options: Any) -> Session:
    model = OpenAIModel("smollm", base_url=url, api_key="key", temperature=0, max_tokens=options.pop("max_tokens", 24))
    instructions = options.pop("instructions", "")
    agent = Agent("A", instructions, model=model, tools=tools, options=options)
    return Session("s", store=MemorySessionStore(), agent=agent)


def test_chat_and_stream(url: str) -> None:
    session = session_with(url, instructions="Be friendly.")
    answer = session.chat("Hello, my name is Bob.")
    assert answer.strip()
    pieces = list(session.stream("Tell me about Paris."))
    assert len(pieces) > 5
    assert session.messages[-1].content == "".join(pieces)
    first, second = [m.metadata["usage"] for m in session.messages if m.role == "assistant"]
    assert 0 < first["input_tokens"] < second["input_tokens"]
    assert 0 < second["output_tokens"] <= 24
    assert session.usage().total_tokens == sum(u["input_tokens"] + u["output_tokens"] for u in (first, second))


def test_a_server_that_is_asked_for_no_usage_reports_none(url: str) -> None:
    for number, options in enumerate(({"include_usage": False}, None), 1):
        session = session_with(url, stream_options=options, max_tokens=4)
        assert list(session.stream("Hello"))
        assert session.usage().unreported == 1, number


def test_in_an_event_loop_many_at_once(url: str) -> None:
    async def main() -> list[str]:
        model = OpenAIModel("smollm", base_url=url, api_key="key", max_tokens=8)
        sessions = [AsyncSession(store=MemorySessionStore(), agent=Agent(model=model)) for _ in range(4)]
        return await asyncio.gather(*[session.chat("Hello!") for session in sessions])

    for _ in range(2):  # each run has an event loop of its own
        assert all(asyncio.run(main()))


def weather_history() -> list[dict[str, Any]]:
    """Two turns from which even a very small model sees how the tool is called."""
    history: list[dict[str, Any]] = []
    for city in ("Rome", "Oslo"):
        history += [
            {"role": "user", "content": f"What is the weather in {city}?"},
            {"role": "assistant", "tool_calls": [{"id": city, "name": "get_weather", "arguments": {"city": city}}]},
            {"role": "tool", "content": f"It is sunny in {city}", "tool_call_id": city},
            {"role": "assistant", "content": f"It is sunny in {city}."},
        ]
    return history


@pytest.mark.parametrize("streaming", [False, True])
def test_tools_are_called_and_their_results_are_used(url: str, streaming: bool) -> None:
    asked: list[str] = []

    def get_weather(city: str) -> str:
        """The weather in a city."""
        asked.append(city)
        agent.options.clear()  # one call is wanted, and the nudge below would bring another
        return f"It is rainy in {city}"

    session = session_with(url, tools=[get_weather], extra_body={"logit_bias": [["<", 7]]}, max_tokens=60)
    agent = session.agent
    session.add_messages(weather_history())
    question = "What is the weather in Paris?"
    answer = "".join(session.stream(question)) if streaming else session.chat(question)
    assert asked == ["Paris"]
    assert "rainy" in answer
    assert [m.role for m in session.messages[-4:]] == ["user", "assistant", "tool", "assistant"]
    assert session.messages[-3].tool_calls[0]["arguments"] == {"city": "Paris"}
    json.dumps(session.messages)


def test_a_reader_that_leaves_closes_the_connection(url: str) -> None:
    session = session_with(url, max_tokens=300)
    for _ in session.stream("Tell me a long story."):
        break
    assert session.messages[-1].metadata == {"interrupted": True}
    assert session.chat("Hello!")  # the server is free again


def test_errors_say_what_to_do(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def chat(**options: Any) -> None:
        model = OpenAIModel("m", **{"base_url": url, "api_key": "key", **options})
        model_session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
        model_session.chat("x")

    with pytest.raises(ModelError, match="set OPENAI_API_KEY"):
        chat(api_key="wrong")
    with pytest.raises(ModelError, match="check OPENAI_BASE_URL"):
        chat(base_url="http://127.0.0.1:1/v1")
    with pytest.raises(ModelError, match="OPENAI_API_KEY"):
        chat(api_key=None)
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", url)
    monkeypatch.setenv("OPENAI_MODEL", "from-environment")
    session = Session("s", store=MemorySessionStore(), agent=Agent(model="openai", options={"max_tokens": 4}))
    assert session.chat("Hello!")
    assert OpenAIModel().model == "from-environment"


class Answers(http.server.BaseHTTPRequestHandler):
    """A server that answers what the test said, as text or as a stream."""

    text = ""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if self.text.startswith("data:") else "application/json")
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def answering() -> Iterator[Any]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()

    def ask(text: str, streaming: bool, **options: Any) -> Session:
        Answers.text = text
        model = OpenAIModel("m", base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="k", **options)
        session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, max_steps=1))
        said.append(session)
        list(session.stream("hi")) if streaming else session.chat("hi")
        return session

    said: list[Session] = []
    ask.said = said  # type: ignore[attr-defined]  # also those that failed
    yield ask
    server.shutdown()
    thread.join()
    server.server_close()


def chunk(*deltas: dict[str, Any], **more: Any) -> str:
    lines = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", **more} for _ in deltas]
    for line, delta in zip(lines, deltas, strict=True):
        line["choices"] = [{"index": 0, "delta": delta, "finish_reason": None}]
    return "".join(f"data: {json.dumps(line)}\n\n" for line in lines)


def test_odd_servers(answering: Any) -> None:
    for text, streaming, options in (
        ("<html>a page</html>", False, {}),
        ('"text"', False, {}),
        ('{"error": {"message": "bad model"}}', False, {}),
        ('{"object": "chat.completion", "choices": []}', False, {}),
        ('{"object": "chat.completion", "choices": [{"message": null}]}', False, {}),
        ("data: {broken\n\n", True, {}),
        ("data: [DONE]\n\n", True, {}),
        ("{}", False, {"temprature": 1}),
    ):
        with pytest.raises(ModelError, match=r"no chat completion, or was asked with an option|gave no answer"):
            answering(text, streaming, **options)


def test_calls_of_servers_that_repeat_themselves_or_give_no_index(answering: Any) -> None:
    def part(call: str, arguments: str, **more: Any) -> dict[str, Any]:
        return {"tool_calls": [{"id": call, "type": "function", "function": {"name": "f", "arguments": arguments}, **more}]}

    repeated = chunk(part("c1", '{"a"', index=0), part("c1", ": 1}", index=0), part("c2", "{}", index=1))
    no_index = chunk(part("c1", '{"a": 1}', index=None), part("c2", "{}", index=None))
    for text in (repeated, no_index):
        with pytest.raises(ModelError, match="called tools 1 times"):
            answering(text, True)
        assert answering.said[-1].messages[1].tool_calls == [
            {"id": "c1", "name": "f", "arguments": {"a": 1}},
            {"id": "c2", "name": "f", "arguments": {}},
        ]
