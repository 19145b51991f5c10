"""Messages as other libraries write them, taken for what they say: OpenAI's roles and items, and SDKs' objects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.errors import InvalidMessage

_PLAIN = (tuple, list, str)
_ROLES = {"developer": "system"}  # OpenAI's newer word


def to_plain(value: Any) -> Any:
    """A message in another library's form as a dict with a role; every other value as it is.

    A function call of OpenAI's Responses API becomes an assistant's message with one tool call, its output a tool's
    message. An object with `model_dump()` (a pydantic model, as SDKs return them) becomes its dict.
    """
    if type(value) in _PLAIN:
        return value
    dump = None if isinstance(value, (Mapping, type)) else getattr(value, "model_dump", None)
    if callable(dump):
        value = dump(mode="json")
    if not isinstance(value, Mapping):
        return value
    if "role" in value:
        role = value["role"]
        return {**value, "role": _ROLES[role]} if isinstance(role, str) and role in _ROLES else value
    kind = value.get("type")
    if kind == "function_call":
        call = {"id": value.get("call_id"), "name": value.get("name"), "arguments": value.get("arguments")}
        return {"role": "assistant", "tool_calls": [call]}
    if kind == "function_call_output":
        return {"role": "tool", "content": value.get("output"), "tool_call_id": value.get("call_id")}
    if isinstance(kind, str):
        raise InvalidMessage(f"an item of type {kind!r} is no message: leave it out, or pass what it says with a role")
    return value


def is_call(value: Any) -> bool:
    """Is this one of the function calls that a model made, each an item of its own?"""
    if type(value) in _PLAIN:
        return False
    kind = value.get("type") if isinstance(value, Mapping) else getattr(value, "type", None)
    return bool(kind == "function_call")
