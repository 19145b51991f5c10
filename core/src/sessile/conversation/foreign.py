"""Messages as other libraries write them: OpenAI's chat messages, the items of its Responses API, and SDKs' objects.

They are taken for what they say (`openai_forms.py` writes them). What the Responses API has beside messages and calls, such as
reasoning, is kept as a part of the assistant's message, in the order in which it was said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Protocol

from sessile.drive.shown import shorten
from sessile.errors import InvalidMessage, ModelError
from sessile.log.ids import new_id

Api = Literal["chat", "responses"]


class Dumps(Protocol):
    """An object of an SDK, such as OpenAI's `ChatCompletion`."""

    def model_dump(self, *, mode: str = ...) -> dict[str, Any]: ...


_PLAIN = (tuple, list, str)
_PLACE = "function_call"  # the type of a call that is an item of its own; of a part, that says where such a call was
_ROLES = {"developer": "system"}  # OpenAI's newer word
_UNKNOWN = {"function_call": "tool_calls", "audio": "its transcript as content"}  # of chat completions
_WHOLE = ("stop", "tool_calls", "function_call")  # the finish_reason of an answer that was not cut off
_KEPT = frozenset(  # items of an answer that are neither a message nor a call of ours
    "reasoning web_search_call file_search_call code_interpreter_call image_generation_call mcp_call mcp_list_tools "
    "mcp_approval_request compaction".split()
)


def to_plain(value: Any) -> Any:
    """A message in another library's form as a dict with a role; every other value as it is.

    A function call of OpenAI's Responses API becomes an assistant's message with one tool call, its output a tool's
    message. An object with `model_dump()` (a pydantic model, as SDKs return them) becomes its dict; a whole answer of OpenAI's
    client its message, with what it took in `metadata["usage"]`.
    """
    if type(value) in _PLAIN:
        return value
    dump = None if isinstance(value, (Mapping, type)) else getattr(value, "model_dump", None)
    if callable(dump):
        value = dump(mode="json")
    if not isinstance(value, Mapping):
        return value
    if "role" in value:
        return _message(value)
    if "object" not in value:
        return _item(value)
    try:
        return _answer(value)
    except (LookupError, TypeError, AttributeError) as error:
        raise InvalidMessage(f"{shorten(value)} is no answer ({type(error).__name__}: {error}): pass a message") from error


def is_answer(value: Any) -> bool:
    """Is this a whole answer of OpenAI's client?"""
    if type(value) in _PLAIN:
        return False
    kind = value.get("object") if isinstance(value, Mapping) else getattr(value, "object", None)
    return isinstance(kind, str)


def _message(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message with a role, whose parts have the names of the chat API."""
    role, content = value["role"], value.get("content")
    changed: dict[str, Any] = {}
    if isinstance(role, str) and role in _ROLES:
        changed["role"] = _ROLES[role]
    if isinstance(content, (list, tuple)):
        changed["content"] = content = [_read_part(part) for part in content]
    if isinstance(value.get("refusal"), str) and role == "assistant":
        changed["content"] = [*_parts(content or ()), {"type": "refusal", "refusal": value["refusal"]}]
    for name, instead in _UNKNOWN.items():
        if role == "assistant" and isinstance(value.get(name), Mapping):
            raise InvalidMessage(f"an assistant's {name} is no part of a message here: pass {instead}")
    if value.get("type") == "message":  # an item of the Responses API
        value = {name: field for name, field in value.items() if name not in ("type", "status")}
        parts = changed.get("content", ())
        if len(parts) == 1 and isinstance(parts[0], Mapping) and parts[0].keys() == {"type", "text"}:
            changed["content"] = parts[0]["text"]
    if "refusal" in value:
        value = {name: field for name, field in value.items() if name != "refusal"}
    return {**value, **changed} if changed else value


def _read_part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("input_text", "output_text"):
        more = {name: part[name] for name in part if name not in ("type", "text") and part[name] not in (None, [])}
        return {"type": "text", "text": part.get("text"), **more}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        more = {"detail": part["detail"]} if part.get("detail") else {}
        return {"type": "image_url", "image_url": {"url": part["image_url"], **more}}
    if kind == "input_file":
        return {"type": "file", "file": {name: part[name] for name in part if name != "type" and part[name] is not None}}
    return part


def _item(value: Mapping[str, Any]) -> Mapping[str, Any]:
    kind = value.get("type")
    if kind == _PLACE:
        call = {"id": value.get("call_id") or new_id(), "name": value.get("name"), "arguments": value.get("arguments")}
        return {"role": "assistant", "tool_calls": [call]}
    if kind == "function_call_output":
        output = value.get("output")
        content = [_read_part(part) for part in output] if isinstance(output, (list, tuple)) else output
        return {"role": "tool", "content": content, "tool_call_id": value.get("call_id")}
    if isinstance(kind, str) and kind in _KEPT:
        return {"role": "assistant", "content": [{name: field for name, field in value.items() if field is not None}]}
    if isinstance(kind, str):
        raise InvalidMessage(f"an item of type {kind!r} is no message: leave it out, or pass what it says with a role")
    return value


def _answer(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The message in a whole answer: a chat completion, or a response, whose items are one message.

    `ModelError` for a failed one. One that was cut off has `finish_reason` in its metadata.
    """
    if value["object"] == "chat.completion" and value.get("choices"):
        choice = value["choices"][0]
        said, why, error = _message(choice["message"]), choice.get("finish_reason"), None
    elif value["object"] == "response" and isinstance(value.get("output"), (list, tuple)):
        said = {"role": "assistant"}
        for item in value["output"]:
            said = joined(said, to_plain(item))
        why, error = (value.get("incomplete_details") or {}).get("reason"), value.get("error")
    else:
        raise InvalidMessage(f"an object {value['object']!r:.60} is no answer: pass a chat completion, a response, or a message")
    why = None if why in _WHOLE else why
    silent = not said.get("content") and not said.get("tool_calls")
    if error:
        raise ModelError(f"the model gave no answer: {shorten(error)}")
    usage = token_usage(value.get("usage"), value.get("model"))
    about = {name: found for name, found in (("usage", usage), ("finish_reason", why)) if found}
    return {**said, "content": "" if silent else said.get("content"), **({"metadata": about} if about else {})}


def token_usage(usage: Any, model: Any = None) -> dict[str, Any]:
    """What an answer of OpenAI's API took, as `metadata["usage"]` has it (see `TokenUsage`); {} where it does not say."""
    if not isinstance(usage, Mapping):
        return {}
    read = _details(usage, "prompt_tokens_details", "input_tokens_details")
    made = _details(usage, "completion_tokens_details", "output_tokens_details")
    found = {
        "input_tokens": usage.get("prompt_tokens", usage.get("input_tokens")),
        "output_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
        "cached_tokens": read.get("cached_tokens"),
        "reasoning_tokens": made.get("reasoning_tokens"),
        "model": model or None,
    }
    return {name: value for name, value in found.items() if value is not None}


def _details(usage: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    return next((usage[name] for name in names if isinstance(usage.get(name), Mapping)), {})


def is_call(value: Any) -> bool:
    """Is this one of the function calls that a model made, each an item of its own?"""
    return _kind(value) == _PLACE


def is_kept(value: Any) -> bool:
    """Is this what a model's answer has beside messages and calls, such as reasoning?"""
    return _kind(value) in _KEPT


def _kind(value: Any) -> str:
    if type(value) in _PLAIN:
        return ""
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return kind if isinstance(kind, str) else ""


def joined(first: Mapping[str, Any], then: Mapping[str, Any]) -> dict[str, Any]:
    """Two pieces of one answer as one: contents and calls behind each other, of everything else the later. Without `raw`.

    Where reasoning, or the like, comes behind a call, a part of the content says where the call was: it is written there again.
    """
    calls, more = list(first.get("tool_calls") or ()), list(then.get("tool_calls") or ())
    begin, end = first.get("content"), then.get("content")
    if calls and end and any(map(is_kept, _parts(end))):
        placed = {part.get("call_id") for part in _parts(begin or ()) if _kind(part) == _PLACE}
        begin = [*_parts(begin or ()), *({"type": _PLACE, "call_id": c["id"]} for c in calls if c["id"] not in placed)]
    content = [*_parts(begin), *_parts(end)] if begin and end else begin or end
    found = {name: value for name, value in {**first, **then, "content": content}.items() if name != "raw"}
    again = {call.get("id") for call in more if isinstance(call, Mapping)} - {None}
    calls = [call for call in calls if not (isinstance(call, Mapping) and call.get("id") in again)]  # said once more
    return {**found, "tool_calls": calls + more} if calls or more else found


def _parts(content: Any) -> Iterable[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
