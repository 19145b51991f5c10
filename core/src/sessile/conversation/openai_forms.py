"""Messages as OpenAI's client takes them: for chat completions, and as items for the Responses API."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from sessile.conversation.foreign import Api, is_call, is_kept
from sessile.drive.arguments import checked
from sessile.drive.shown import shorten
from sessile.errors import InvalidMessage
from sessile.log.encoding import JSON, to_json


@functools.partial(checked, skip=0)
def to_openai(messages: Iterable[Mapping[str, Any]], api: Api = "chat") -> list[Any]:
    """Messages as OpenAI's client takes them: as `messages` of chat completions, or as `input` of the Responses API.

    What these have no place for, such as metadata and ids, is left out; chat completions have none for reasoning. Read again,
    the messages are equal but for that, but text in a list is a dict, and a text and calls that the assistant said one after the
    other are one message. `InvalidMessage` for a part that chat completions do not have, or a result that names no call.
    """
    if api == "chat":
        return [_chat_message(said) for said in messages]
    return [item for said in messages for item in _items(said)]


def _chat_message(said: Mapping[str, Any]) -> dict[str, Any]:
    content, calls = said.get("content"), said.get("tool_calls")
    if isinstance(content, (list, tuple)):
        content = [_chat_part(part) for part in content if not is_kept(part) and not is_call(part)] or (None if calls else "")
    sent: dict[str, Any] = {"role": said["role"], "content": content}
    if calls:
        functions = [{"name": call["name"], "arguments": _arguments(call)} for call in calls]
        sent["tool_calls"] = [
            {"id": call["id"], "type": "function", "function": function} for call, function in zip(calls, functions, strict=True)
        ]
    if said["role"] == "tool":
        sent["tool_call_id"] = _answered(said)
    elif said.get("name"):
        sent["name"] = said["name"]
    return sent


def _chat_part(part: Any) -> Any:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if part.get("type") == "input_image" or (part.get("type") == "file" and "file_url" in (part.get("file") or {})):
        raise InvalidMessage(
            f"{shorten(part)} is a part that chat completions do not have: pass api='responses', or leave it out"
        )
    if part.get("type") != "text":
        return part
    return {name: value for name, value in part.items() if name not in ("annotations", "logprobs")}  # of the other API


def _items(said: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    """A message as items, in the order in which it was said."""
    content, role = said.get("content"), said["role"]
    if role == "tool":
        output = content if isinstance(content, str) else [_part(part, "input_text") for part in content or ()]
        yield {"type": "function_call_output", "call_id": _answered(said), "output": output}
        return
    calls = list(said.get("tool_calls") or ())
    about = {"role": role, **({"phase": said["phase"]} if "phase" in said else {})}
    if isinstance(content, str) or not content:
        if content or not calls:
            yield {**about, "content": content or ""}
        content = ()
    text = "output_text" if role == "assistant" else "input_text"
    for of_its_own, parts in groupby(content, lambda part: is_kept(part) or is_call(part)):
        if of_its_own:
            yield from (part if is_kept(part) else _call(call) for part in parts for call in _placed(part, calls))
        else:
            yield {**about, "content": [_part(part, text) for part in parts]}
    yield from map(_call, calls)


def _placed(part: Mapping[str, Any], calls: list[Any]) -> list[Any]:
    """What is written for a part that is an item of its own: the call whose place it is, taken from `calls`; the part itself."""
    if is_kept(part):
        return [part]
    found = [call for call in calls if call["id"] == part.get("call_id")][:1]
    for call in found:
        calls.remove(call)
    return found


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call as an item."""
    return {"type": "function_call", "call_id": call["id"], "name": call["name"], "arguments": _arguments(call)}


def _answered(said: Mapping[str, Any]) -> str:
    """The id of the call that a tool's message answers."""
    if not isinstance(call := said.get("tool_call_id"), str):
        raise InvalidMessage(
            f"the result {shorten(said.get('content'))} names no call, which OpenAI asks for: set its tool_call_id"
        )
    return call


def _part(part: Any, text: str) -> Any:
    if isinstance(part, str):
        return {"type": text, "text": part}
    if part.get("type") == "text":
        return {**part, "type": text}
    image, file = part.get("image_url"), part.get("file")
    if part.get("type") == "image_url" and isinstance(image, Mapping):
        return {
            "type": "input_image",
            "image_url": image.get("url"),
            **({"detail": image["detail"]} if "detail" in image else {}),
        }
    if part.get("type") == "file" and isinstance(file, Mapping):
        return {"type": "input_file", **file}
    return part


def _arguments(call: Mapping[str, Any]) -> str:
    """A call's arguments as text; what was no JSON as the model wrote it."""
    arguments: JSON = call["arguments"]
    if isinstance(arguments, dict) and arguments.keys() == {"_text"} and isinstance(arguments["_text"], str):
        return arguments["_text"]
    return to_json(arguments)
