"""Messages: what users, assistants and tools say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from sessile.encoding import JSON, from_json, json_value
from sessile.errors import InvalidMessage
from sessile.ids import new_id
from sessile.log import Draft, Entry

ROLES = ("system", "user", "assistant", "tool")
ABOUT = frozenset(("id", "timestamp", "turn", "open"))  # what the log says of a message, beside what was said


class Message(dict[str, Any]):
    """One message: a read-only dict, so that `json.dumps` takes it, whose keys are attributes too.

    role: "system", "user", "assistant" or "tool". content: text, a list of JSON parts, or None beside tool calls.
    metadata: a dict of JSON values. id: stable for ever. timestamp: seconds since 1970 (UTC), the writer's clock.
    turn: id of its turn, if it was said in one. open: True while its turn has no reply, or tool calls no results.
    tool_calls (assistant): [{"id", "name", "arguments": dict}]. tool_call_id, name (tool): the call it answers.
    """

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            if name in _DEFAULTS:
                return _DEFAULTS[name]
            raise AttributeError(f"this message has no {name!r}; it has {sorted(self)}") from None

    @property
    def text(self) -> str:
        """The content as plain text: the text parts of a list joined, "" for None."""
        content = self.get("content")
        if isinstance(content, str):
            return content
        parts = content or []
        return "".join(part if isinstance(part, str) else str(part.get("text", "")) for part in parts)

    def replace(self, **changes: Any) -> Message:
        """A copy with some keys set anew, checked as a new message is."""
        return message(**{**self, **changes})

    def __repr__(self) -> str:
        return f"Message({', '.join(f'{k}={v!r}' for k, v in self.items())})"

    def _read_only(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("a message is read-only: use .replace(content=…) for a changed copy")

    __setitem__ = __delitem__ = __setattr__ = __ior__ = _read_only
    update = setdefault = pop = popitem = clear = _read_only

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (dict(self),)


_DEFAULTS: Mapping[str, Any] = {
    **dict.fromkeys(("id", "content", "timestamp", "turn", "tool_call_id", "name")),
    "metadata": {},
    "tool_calls": [],
    "open": False,
}


def message(role: str, content: JSON = None, metadata: Mapping[str, JSON] | None = None, **fields: JSON) -> Message:
    """A checked message. Raises `InvalidMessage`, naming the value, for what cannot be stored."""
    if role not in ROLES:
        raise InvalidMessage(f"a message's role is one of {', '.join(ROLES)}, not {role!r}")
    body: dict[str, Any] = {"role": role, "content": _checked_content(role, content, fields)}
    if metadata:
        if not isinstance(metadata, Mapping):
            raise InvalidMessage(f"a message's metadata is a dict, not {type(metadata).__name__} ({metadata!r:.60})")
        body["metadata"] = json_value(dict(metadata), "metadata", InvalidMessage)
    for name, value in fields.items():
        if value is not None and value != []:
            body[name] = json_value(value, name, InvalidMessage)
    if "tool_calls" in body:
        body["tool_calls"] = [_tool_call(call) for call in body["tool_calls"]]
    if not isinstance(body.get("id", ""), str):
        raise InvalidMessage(f"a message's id is a string, not {body['id']!r}: leave it out to get one")
    return Message(body)


def _tool_call(call: JSON) -> dict[str, JSON]:
    """A tool call as {"id", "name", "arguments"}; OpenAI's nested form is taken too, a missing id is made."""
    if not isinstance(call, dict):
        raise InvalidMessage(f"a tool call is a dict with a name and arguments, not {call!r:.60}")
    inner = call.get("function") or call
    arguments = inner.get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = from_json(arguments)
        except ValueError:
            arguments = {"_text": arguments}  # a model's broken JSON: the tool's check will answer it
    if not isinstance(inner.get("name"), str) or not isinstance(arguments, dict):
        raise InvalidMessage(f"a tool call has a name and a dict of arguments: {call!r:.80} has not")
    return {"id": str(call.get("id") or new_id()), "name": inner["name"], "arguments": arguments}


def _checked_content(role: str, content: JSON, fields: Mapping[str, JSON]) -> JSON:
    if content is None and not (role == "assistant" and fields.get("tool_calls")):
        raise InvalidMessage(f"the content of a message of role {role!r} is None: pass text (it may be empty)")
    if content is not None and not isinstance(content, (str, list)):
        raise InvalidMessage(
            f"a message's content is text or a list of parts, not {type(content).__name__} ({content!r:.60}): pass str(content)"
        )
    return json_value(content, "content", InvalidMessage)


def as_message(value: Any) -> Message:
    """A message from a `Message`, a dict such as {"role": "user", "content": "Hi"}, or a (role, content) pair."""
    if isinstance(value, Mapping):
        if "role" not in value:
            raise InvalidMessage(f"this message has no role: {value!r:.80}; pass {{'role': 'user', 'content': '…'}}")
        return message(**value)
    if isinstance(value, (tuple, list)) and len(value) == 2:
        return message(value[0], value[1])
    raise InvalidMessage(f"not a message: {value!r:.80}; pass a Message, {{'role': …, 'content': …}} or (role, content)")


def as_reply(value: Any, like: Message | None = None) -> Message:
    """What a model or a middleware returned, as an assistant's message; text keeps the other fields of `like`."""
    if isinstance(value, Message) and value.role == "assistant":
        return value
    if isinstance(value, str):
        return like.replace(content=value) if like is not None else message("assistant", value)
    if isinstance(value, Mapping):
        return as_message({"role": "assistant", **value})
    raise InvalidMessage(f"a reply is text or an assistant's message, not {type(value).__name__} ({value!r:.60})")


def draft(said: Message, turn: str | None = None) -> Draft:
    """The log entry to be of a message. Its id is kept where it has one, so that a copy is known as the same."""
    if ABOUT.isdisjoint(said):
        return Draft("message", said, turn=turn)
    body = {name: value for name, value in said.items() if name not in ABOUT}
    return Draft("message", body, id=said.get("id") or new_id(), turn=turn)


def from_entry(entry: Entry) -> Message:
    """The message that a "message" entry holds."""
    if entry.turn is None:
        return Message(entry.body, id=entry.id, timestamp=entry.time)
    return Message(entry.body, id=entry.id, timestamp=entry.time, turn=entry.turn)
