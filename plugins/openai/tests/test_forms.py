"""Messages in OpenAI's forms: what its client takes and returns, there and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.responses import FunctionToolParam, Response, ResponseInputParam
from pydantic import TypeAdapter

from sessile import Agent, MemorySessionStore, Message, Session, tool
from sessile.errors import InvalidArgument, InvalidMessage, ModelError
from sessile.models import Request, to_openai
from sessile.testing import ScriptedModel

CHAT_MESSAGE: TypeAdapter[Any] = TypeAdapter(ChatCompletionMessageParam)
RESPONSE_INPUT: TypeAdapter[Any] = TypeAdapter(ResponseInputParam)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
SOME = TEXT.filter(bool)
TEXT_PART = st.builds(lambda text: {"type": "text", "text": text}, SOME)
USER_PART = st.one_of(
    TEXT_PART,
    st.builds(lambda name: {"type": "image_url", "image_url": {"url": f"https://x/{name}"}}, st.just("a.png")),
    st.just({"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}),
    st.just({"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA=="}}),
)
REFUSAL = st.builds(lambda text: {"type": "refusal", "refusal": text}, SOME)
REASONING = st.builds(lambda text: {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": text}]}, SOME)
VALUES = st.one_of(st.none(), st.integers(-(2**53), 2**53), TEXT, st.lists(st.booleans(), max_size=2))
ARGUMENTS = st.dictionaries(SOME, VALUES, max_size=2)
ANSWER = st.one_of(TEXT, st.lists(st.one_of(TEXT_PART, REFUSAL), min_size=1, max_size=2))


@st.composite
def turns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """What was said: as models and users say it, calls answered in order."""
    found: list[dict[str, Any]] = []
    if draw(st.booleans()):
        found.append({"role": "system", "content": draw(st.one_of(TEXT, st.lists(TEXT_PART, min_size=1, max_size=2)))})
    for number in range(draw(st.integers(0, 3))):
        found.append({"role": "user", "content": draw(st.one_of(TEXT, st.lists(USER_PART, min_size=1, max_size=3)))})
        if draw(st.booleans()):
            calls = [
                {"id": f"c{number}-{index}", "name": draw(st.sampled_from(["look", "find"])), "arguments": draw(ARGUMENTS)}
                for index in range(draw(st.integers(1, 3)))
            ]
            found.append({"role": "assistant", "content": draw(st.one_of(st.none(), SOME)), "tool_calls": calls})
            results = st.one_of(TEXT, st.lists(TEXT_PART, min_size=1, max_size=2))
            found += [
                {"role": "tool", "content": draw(results), "tool_call_id": call["id"], "name": call["name"]} for call in calls
            ]
        found.append({"role": "assistant", "content": draw(ANSWER)})
    return found


def session_of(messages: list[dict[str, Any]]) -> Session:
    session = Session("s", store=MemorySessionStore())
    session.add_messages(messages)
    return session


def bare(messages: list[Message]) -> list[dict[str, Any]]:
    return [{name: said[name] for name in said if name not in ("id", "timestamp", "metadata")} for said in messages]


@given(turns())
def test_there_and_back_for_chat_completions(messages: list[dict[str, Any]]) -> None:
    session = session_of(messages)
    sent = session.to_openai()
    for said in sent:
        CHAT_MESSAGE.validate_python(said)
    assert bare(session_of(sent).messages) == bare(session.messages)
    last = session.to_openai(2)
    assert len(last) <= 2
    assert last == sent[len(sent) - len(last) :]
    assert not last or last[0]["role"] != "tool"
    assert session.to_openai(len(sent)) == sent


def _is_untyped(item: dict[str, Any]) -> bool:
    """In the SDK, an answer's parts have a type only with an id that the API gave, and an image only with its detail."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    of_answer = item.get("role") == "assistant" and isinstance(content, list)
    return of_answer or any(part["type"] == "input_image" and "detail" not in part for part in parts)


@given(turns(), st.data())
def test_there_and_back_for_responses(messages: list[dict[str, Any]], data: st.DataObject) -> None:
    for said in messages:
        if said["role"] == "assistant" and isinstance(said["content"], list):
            for reasoning in data.draw(st.lists(REASONING, max_size=2)):
                said["content"].insert(data.draw(st.integers(0, len(said["content"]))), reasoning)
    session = session_of(messages)
    sent = session.to_openai(api="responses")
    typed = [item for item in sent if not _is_untyped(item)]
    RESPONSE_INPUT.validate_python(typed)
    back = session_of(sent)
    assert bare(back.messages) == bare(session.messages)
    assert back.to_openai(api="responses") == sent


def test_text_that_was_no_json_is_sent_as_the_model_wrote_it() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1'}}
    messages = session_of([{"role": "assistant", "content": "", "tool_calls": [call]}]).messages
    assert messages[0].content is None
    assert to_openai(messages)[0]["tool_calls"] == [call]
    assert to_openai(messages, "responses")[0]["arguments"] == '{"a": 1'


def test_what_openai_refuses_is_left_out() -> None:
    def look() -> str:
        raise KeyboardInterrupt

    store = MemorySessionStore()
    session = Session("s", store=store, agent=Agent(model=ScriptedModel("one", {"tool_calls": [{"name": "look"}]}), tools=[look]))
    session.chat("first")
    with pytest.raises(KeyboardInterrupt):
        session.chat("second")
    again = Session("s", store=store)
    assert [message.role for message in again.messages] == ["user", "assistant", "user", "assistant"]
    for api in ("chat", "responses"):
        assert [item["content"] for item in again.to_openai(api=api)] == ["first", "one"]  # type: ignore[arg-type]
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "name": "f", "arguments": {}}]}
    cut = session_of([("user", "q"), calls, ("user", "never mind"), {"role": "tool", "content": "late", "tool_call_id": "d"}])  # type: ignore[list-item]
    assert [item["content"] for item in cut.to_openai()] == ["q", "never mind"]


def test_calls_and_results_are_paired_in_order() -> None:
    def call(name: str) -> dict[str, Any]:
        return {"role": "assistant", "content": None, "tool_calls": [{"id": name, "name": "f", "arguments": {}}]}

    def result(name: str) -> dict[str, Any]:
        return {"role": "tool", "content": f"of {name}", "tool_call_id": name}

    for messages, kept in (
        ([call("a"), call("b"), result("a")], 0),
        ([result("a"), call("a")], 0),
        ([call("a"), result("a"), call("a")], 2),
        ([call("a"), result("a"), result("a")], 2),
        ([call("a"), call("b"), result("a"), result("b")], 4),
        ([call("a"), result("a"), call("b")], 2),
    ):
        session = session_of([{"role": "user", "content": "q"}, *messages])
        assert len(session.to_openai()) == 1 + kept, messages
        session.agent = Agent(model=(model := ScriptedModel("x")))
        session.chat("next")
        assert len(model.requests[0].messages) == 2 + kept


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-x-2026",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi", "refusal": None}}],
    "usage": {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 3},
        "completion_tokens_details": {"reasoning_tokens": 2},
    },
}
OUTPUT: list[dict[str, Any]] = [
    {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Let me look", "annotations": []}],
    },
    {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": '{"where": "x"}'},
    {"type": "function_call", "id": "fc_2", "call_id": "c2", "name": "look", "arguments": '{"where": "y"}'},
]
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "gpt-x-2026",
    "output": OUTPUT,
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 10,
        "output_tokens": 4,
        "total_tokens": 14,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 2},
    },
}
USAGE = {"input_tokens": 10, "output_tokens": 4, "cached_tokens": 3, "reasoning_tokens": 2, "model": "gpt-x-2026"}


def test_a_model_may_return_what_the_client_returned() -> None:
    asked: list[Request] = []

    class Client:
        def generate(self, request: Request) -> Any:
            asked.append(request)
            if len(asked) == 1:
                return Response.model_validate(RESPONSE)
            return ChatCompletion.model_validate(COMPLETION)

    def look(where: str) -> str:
        """Look somewhere."""
        return f"nothing at {where}"

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Client(), tools=[look]))
    assert session.chat("where?") == "Hi"
    _, first, *results, last = session.messages
    assert [call["id"] for call in first.tool_calls] == ["c1", "c2"]
    assert (first.text, first.content[0]["encrypted_content"]) == ("Let me look", "x")
    assert first.metadata == last.metadata == {"usage": USAGE}
    assert [(m.text, m.name) for m in results] == [("nothing at x", "look"), ("nothing at y", "look")]
    assert session.usage().by_model["gpt-x-2026"].total_tokens == 28
    for api, keyword in (("chat", "messages"), ("responses", "input")):
        body = asked[0].to_openai(api)  # type: ignore[arg-type]
        assert [*body] == [keyword, "tools"]
        kind: Any = ChatCompletionToolParam if api == "chat" else FunctionToolParam
        TypeAdapter(kind).validate_python(body["tools"][0])
    assert to_openai(asked[1].messages, "responses")[1]["type"] == "reasoning"


def test_the_items_of_a_response_are_one_message() -> None:
    response = Response.model_validate(RESPONSE)
    for items in (OUTPUT, response.output):
        (said,) = session_of([*items]).messages
        assert (said.role, said.text, said.id, len(said.tool_calls)) == ("assistant", "Let me look", "msg_1", 2)
        assert to_openai([said], "responses")[0]["type"] == "reasoning"
        assert to_openai([said])[0]["content"] == [{"type": "text", "text": "Let me look"}]


OUTPUTS = st.lists(
    st.sampled_from(["reasoning", "call", "web"]).flatmap(
        lambda kind: st.builds(
            lambda number: {
                "reasoning": {"type": "reasoning", "id": f"rs_{number}", "summary": []},
                "call": {"type": "function_call", "call_id": f"c{number}", "name": "look", "arguments": "{}"},
                "web": {"type": "web_search_call", "id": f"ws_{number}", "status": "completed"},
            }[kind],
            st.integers(0, 10**6),
        )
    ),
    min_size=1,
    max_size=6,
    unique_by=str,
)


@given(OUTPUTS, st.booleans())
@example([OUTPUT[0], OUTPUT[2], {**OUTPUT[0], "id": "rs_2"}, OUTPUT[3]], False)
def test_a_response_is_the_same_message_whoever_takes_it_and_is_written_in_its_order(output: list[Any], text: bool) -> None:
    output = [*([OUTPUT[1]] if text else []), *output]
    (added,) = session_of(output).messages
    model = ScriptedModel({**RESPONSE, "output": output}, "done")
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    session.chat("hi")
    answered = session.messages[1]
    assert bare([answered.replace(turn=None)]) == bare([added])
    written = to_openai([added], "responses")
    assert [_what(item) for item in written] == [_what(item) for item in output]


def _what(item: dict[str, Any]) -> Any:
    return item.get("call_id") or ("text" if "role" in item else item["id"])


@pytest.mark.parametrize("streaming", [False, True])
def test_what_was_cut_off_or_failed_says_so(streaming: bool) -> None:
    def asked(answer: Any) -> Session:
        session = Session("s", store=MemorySessionStore(), agent=Agent(model=ScriptedModel([answer] if streaming else answer)))
        list(session.stream("hi")) if streaming else session.chat("hi")
        return session

    cut = {**COMPLETION, "choices": [{**COMPLETION["choices"][0], "finish_reason": "length"}]}  # type: ignore[index,dict-item]
    assert asked(cut).messages[-1].metadata == {"usage": USAGE, "finish_reason": "length"}
    half = {**RESPONSE, "output": OUTPUT[1:2], "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
    assert asked(half).messages[-1].metadata["finish_reason"] == "max_output_tokens"
    nothing = {"role": "assistant", "content": None}
    for silent, why in (
        ({**RESPONSE, "output": [], "status": "failed", "error": {"code": "server_error", "message": "boom"}}, "boom"),
        ({**COMPLETION, "choices": [{"index": 0, "finish_reason": "content_filter", "message": nothing}]}, "content_filter"),
    ):
        with pytest.raises(ModelError, match=f"the model gave no answer: .*{why}"):
            asked(silent)
    empty = {**COMPLETION, "choices": [{"index": 0, "finish_reason": "stop", "message": nothing}]}
    assert asked(empty).messages[-1].content == ""


@pytest.mark.parametrize("pieces", [["Let me ", "look"], ["Let me"], [], ["Let me ", OUTPUT[0], "look", *OUTPUT[2:]]])
def test_a_whole_answer_takes_the_place_of_its_pieces(pieces: list[Any]) -> None:
    asked: list[str] = []

    def look(where: str) -> str:
        asked.append(where)
        return "x"

    model = ScriptedModel([*pieces, Response.model_validate(RESPONSE)], ["do", "ne", ChatCompletion.model_validate(COMPLETION)])
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model, tools=[look]))
    assert "".join(session.stream("hi")) == "Let me lookdone"  # what was streamed cannot be taken back
    answer = session.messages[1]
    assert (answer.text, [part["type"] for part in answer.content]) == ("Let me look", ["reasoning", "text"])  # type: ignore[index,union-attr]
    assert asked == ["x", "y"]
    assert (session.messages[-1].text, session.messages[-1].metadata) == ("Hi", {"usage": USAGE})
    cut = {**COMPLETION, "choices": [{"index": 0, "finish_reason": "length", "message": {"role": "assistant", "content": ""}}]}
    model = ScriptedModel(["what ", "there is", cut])
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    assert session.chat("hi") == "what there is"
    assert session.messages[-1].metadata["finish_reason"] == "length"


def test_what_chat_completions_do_not_have_is_named() -> None:
    for message, why in (
        (
            {"role": "user", "content": [{"type": "input_image", "file_id": "f"}]},
            "input_image.* is a part that chat completions do not have",
        ),
        (
            {"role": "user", "content": [{"type": "input_file", "file_url": "https://x"}]},
            "file_url.* is a part that chat completions do not have",
        ),
        ({"role": "tool", "content": "x"}, "the result 'x' names no call"),
    ):
        (said,) = session_of([message]).messages
        with pytest.raises(InvalidMessage, match=why):
            to_openai([said])
    with pytest.raises(InvalidArgument, match="api is 'completions': pass 'chat' or 'responses'"):
        to_openai([], "completions")  # type: ignore[arg-type]
    with pytest.raises(InvalidMessage, match="is one message, or an answer: pass a list"):
        session_of(ChatCompletion.model_validate(COMPLETION))  # type: ignore[arg-type]


def test_what_a_gateway_reads_beside_text_is_sent() -> None:
    part = {"type": "text", "text": "long", "cache_control": {"type": "ephemeral"}}
    assert session_of([{"role": "system", "content": [part]}]).to_openai()[0]["content"] == [part]
    said = {**OUTPUT[1], "phase": "commentary"}
    (read,) = session_of([said]).messages
    assert to_openai([read], "responses") == [{"role": "assistant", "phase": "commentary", "content": "Let me look"}]


def test_a_refusal_is_what_was_said() -> None:
    refused = {**COMPLETION["choices"][0]["message"], "content": None, "refusal": "I cannot"}  # type: ignore[index]
    session = session_of([refused])
    assert session.messages[0].text == "I cannot"
    assert session.to_openai()[0]["content"] == [{"type": "refusal", "refusal": "I cannot"}]
    for content, text in (("", "I cannot"), ("partly. ", "partly. I cannot")):
        assert session_of([{**refused, "content": content}]).messages[0].text == text


def test_what_is_no_message_is_refused() -> None:
    session = session_of([])
    for item, why in (
        ({"type": "computer_call", "call_id": "c"}, "an item of type 'computer_call' is no message"),
        ({"object": "chat.completion.chunk", "choices": []}, "an object 'chat.completion.chunk' is no answer"),
        ({"object": "response"}, "an object 'response' is no answer"),
        ({"object": "chat.completion", "choices": []}, "an object 'chat.completion' is no answer"),
        ({"object": "chat.completion", "choices": [{"text": "x"}]}, "is no answer .KeyError"),
        ({"object": "response", "output": ["text"]}, "is no answer .AttributeError"),
        ({"role": "assistant", "content": "", "function_call": {"name": "f"}}, "an assistant's function_call .* pass tool_calls"),
        ({"role": "assistant", "content": None, "audio": {"id": "a"}}, "an assistant's audio .* pass its transcript"),
    ):
        with pytest.raises(InvalidMessage, match=why):
            session.add_messages([("user", "x"), item])
    assert session.message_count == 0


def test_a_tool_says_what_it_takes() -> None:
    @tool(name="find")
    def find(text: str, limit: int = 3) -> str:
        """Find something."""
        return text

    assert find.to_openai()["function"]["name"] == find.to_openai("responses")["name"] == "find"
