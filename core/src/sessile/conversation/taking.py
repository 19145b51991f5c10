"""What is taken for a message: a `Message`, a dict, a pair, other libraries' forms, what a model or a middleware returned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from sessile.conversation.foreign import Dumps, is_call, is_kept, joined, to_plain
from sessile.conversation.messages import ABOUT, Message, message
from sessile.drive.arguments import Unchecked
from sessile.drive.shown import shorten
from sessile.errors import InvalidMessage

MessageLike = Annotated[Mapping[str, Any] | tuple[str, Any] | Dumps, Unchecked]  # what `as_message` takes
_ONCE = ("usage", "interrupted", "finish_reason")  # metadata of one answer
_STORED = ABOUT - {"raw"}  # what a message has only once it is stored


def as_message(value: Any) -> Message:
    """A message from a `Message`, a dict such as {"role": "user", "content": "Hi"}, or a (role, content) pair.

    Forms of other libraries are taken too: see `conversation/foreign.py`.
    """
    if type(value) is tuple and len(value) == 2:
        return message(*value)
    value = to_plain(value)
    if isinstance(value, Mapping):
        if "role" not in value:
            raise InvalidMessage(f"this message has no role: {shorten(value, 80)}; pass {{'role': 'user', 'content': '…'}}")
        if odd := [key for key in value if not isinstance(key, str)]:
            raise InvalidMessage(f"this message has the key {shorten(odd[0])}: its keys are strings")
        return message(**value)
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return message(value[0], value[1])
    raise InvalidMessage(f"not a message: {shorten(value, 80)}; pass a Message, {{'role': …, 'content': …}} or (role, content)")


def as_messages(values: Iterable[Any]) -> list[Message]:
    """Messages from what `as_message` takes. `InvalidMessage` says which is wrong, or has the id of another.

    Items of OpenAI's Responses API become one message where a model gave them at once: reasoning, a text, function calls. A
    tool's result has the name of the function where its call is among the messages.
    """
    if hasattr(values, "model_dump"):
        raise InvalidMessage(f"{shorten(values)} is one message, or an answer: pass a list of those")
    values = list(values)
    found: list[Message] = []
    numbers: dict[str | None, int] = {}
    called: dict[str, str] = {}
    for number, value in enumerate(values, 1):
        try:
            said = as_message(value)
            role = said["role"]
            if role == "assistant" and found and found[-1]["role"] == role and _goes_on(values[number - 2], value):
                before = found.pop()
                numbers.pop(before.id, None)
                said = message(**joined(before, said))
            elif role == "tool" and "name" not in said and said.tool_call_id in called:
                said = message(**{**said, "name": called[said.tool_call_id]})  # with its `raw`
        except InvalidMessage as error:
            raise InvalidMessage(f"message {number} of {len(values)}: {error}" if len(values) > 1 else str(error)) from error
        if "id" in said and (first := numbers.setdefault(said["id"], number)) != number:
            raise InvalidMessage(f"message {number} of {len(values)} has the id of message {first}, {said.id!r}: leave one out")
        if "tool_calls" in said:
            called.update({call["id"]: call["name"] for call in said["tool_calls"]})
        found.append(said)
    return found


def _goes_on(item_before: Any, item: Any) -> bool:
    """Did a model give both, which are the assistant's, at once? Then one of them at least is an item that is no message."""
    return any(is_kept(value) or is_call(value) for value in (item_before, item))


def as_reply(value: Any, like: Message | None = None) -> Message:
    """What a model or a middleware returned, as an assistant's message; text keeps the other fields of `like`.

    It is a new message, whatever it was made of: an id, a time or a turn that it has is another's.
    """
    if like is not None and value is like:
        return like
    value = to_plain(value)
    if isinstance(value, str):
        return like.replace(content=value) if like is not None else message("assistant", value)
    if isinstance(value, Mapping):
        said = {name: field for name, field in value.items() if name not in _STORED}
        if "timestamp" in value and isinstance(
            value.get("metadata"), Mapping
        ):  # what was said of that message is not said of this one
            said["metadata"] = {name: field for name, field in value["metadata"].items() if name not in _ONCE}
        return _assistants(as_message({"role": "assistant", **said}))
    raise InvalidMessage(f"a reply is text or an assistant's message, not {type(value).__name__} ({shorten(value)})")


def _assistants(said: Message) -> Message:
    if said.role != "assistant":
        raise InvalidMessage(f"a reply is an assistant's message, not one of role {said.role!r} ({shorten(said.content)})")
    return said
