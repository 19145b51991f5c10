"""Messages: what users, assistants and tools say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal, Never, NoReturn, TypedDict, get_args

from sessile.drive.arguments import Unchecked
from sessile.drive.shown import shorten
from sessile.errors import CorruptStore, InvalidMessage, ReadOnly
from sessile.log.encoding import JSON, copied, from_json, json_value
from sessile.log.entries import Entry
from sessile.log.ids import CONTROL, new_id
from sessile.log.stamping import Draft

Role = Literal["system", "user", "assistant", "tool"]
AnyRole = Annotated[Role, Unchecked]
ROLES: tuple[str, ...] = get_args(Role)
ABOUT = frozenset(("id", "timestamp", "turn", "open", "raw"))  # what the log says of a message, beside what was said
_NESTED = frozenset((dict, list))  # what can be changed in place
_YEAR_10000 = 253_402_300_800  # seconds since 1970: later moments have no date


class ToolCall(TypedDict):
    """A model's call of a tool, as a message has it."""

    id: str
    name: str
    arguments: dict[str, Any]


class Message(dict[str, Any]):
    """One message: a read-only dict, so that `json.dumps` takes it, whose keys are attributes too.

    role: "system", "user", "assistant" or "tool". content: text, a list of JSON parts, or None beside tool calls.
    metadata: a dict of JSON values. id: stable for ever. timestamp: seconds since 1970 (UTC), the writer's clock.
    turn: id of its turn, if it was said in one. open: True while its turn has no reply, or tool calls no results.
    tool_calls (assistant): [{"id", "name", "arguments": dict}]. tool_call_id, name (tool): the call it answers.
    raw: the original, as text, of a message that another framework wrote: kept as it is, and never sent to a model.
    """

    __slots__ = ()

    if TYPE_CHECKING:
        # fmt: off
        @property
        def role(self) -> Role: ...
        @property
        def content(self) -> str | list[Any] | None: ...
        @property
        def metadata(self) -> dict[str, Any]: ...
        @property
        def id(self) -> str | None: ...
        @property
        def timestamp(self) -> float | None: ...
        @property
        def turn(self) -> str | None: ...
        @property
        def open(self) -> bool: ...
        @property
        def tool_calls(self) -> list[ToolCall]: ...
        @property
        def tool_call_id(self) -> str | None: ...
        @property
        def name(self) -> str | None: ...
        @property
        def raw(self) -> str | None: ...
        def __setitem__(self, name: Never, value: Never, /) -> None: ...  # type: ignore[override]
        # fmt: on
    else:

        def __getattr__(self, name: str) -> Any:
            try:
                return self[name]
            except KeyError:
                if name in _DEFAULTS:
                    return _DEFAULTS[name]()
                raise AttributeError(f"this message has no {name!r}; it has {sorted(self)}") from None

    @property
    def text(self) -> str:
        """The content as plain text: the text parts of a list joined, "" for whatever has no text. Never raises."""
        content = self.get("content")
        if isinstance(content, str):
            return content
        return "".join(map(_part_text, content)) if isinstance(content, (list, tuple)) else ""

    def replace(self, **changes: Any) -> Message:
        """A copy with some keys set anew, checked as a new message is. Any change removes `raw`, unless it is given."""
        return message(**{**({name: self[name] for name in self if name != "raw"} if changes else self), **changes})

    def __repr__(self) -> str:
        return f"Message({', '.join(f'{k}={v!r}' for k, v in self.items())})"

    def _read_only(self, *_: Any, **__: Any) -> NoReturn:
        raise ReadOnly("a message is read-only: use .replace(content=…) for a changed copy")

    if not TYPE_CHECKING:
        __setitem__ = _read_only
    __delitem__ = __setattr__ = __ior__ = _read_only
    update = setdefault = pop = popitem = clear = _read_only

    def __reduce__(self) -> tuple[Any, ...]:
        return Message, (dict(self),)


def _none() -> None:
    return None


# Defaults of missing keys. Each is made anew, so that changing one message's default does not change another's.
_DEFAULTS: Mapping[str, Callable[[], Any]] = {
    **dict.fromkeys(("id", "content", "timestamp", "turn", "tool_call_id", "name", "raw"), _none),
    "metadata": dict,
    "tool_calls": list,
    "open": bool,
}


def _part_text(part: object) -> str:
    text = (part.get("text") or part.get("refusal")) if isinstance(part, Mapping) else part
    return text if isinstance(text, str) else ""


def message(role: str, content: JSON = None, metadata: Mapping[str, JSON] | None = None, **fields: JSON) -> Message:
    """A checked message. Raises `InvalidMessage`, naming the value, for what cannot be stored."""
    if role not in ROLES:
        raise InvalidMessage(f"a message's role is one of {', '.join(ROLES)}, not {shorten(role)}")
    body: dict[str, Any] = {"role": role, "content": _checked_content(role, content, fields)}
    if metadata:
        if not isinstance(metadata, Mapping):
            raise InvalidMessage(f"a message's metadata is a dict, not {type(metadata).__name__} ({shorten(metadata)})")
        body["metadata"] = json_value(dict(metadata), "metadata", InvalidMessage)
    for name, value in fields.items():
        if value is not None and value != []:
            body[name] = _FIELDS[name](name, value) if name in _FIELDS else json_value(value, name, InvalidMessage)
    return Message(body)


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise InvalidMessage(f"a message's {name} is a string, not {shorten(value)}: leave it out, or pass str({name})")
    text: str = json_value(value, name, InvalidMessage)
    return text


def _id(name: str, value: object) -> str:
    if (text := _text(name, value)) and (control := CONTROL.search(text)):
        raise InvalidMessage(f"a message's {name} {text!r:.60} has {control.group()!r}: leave that out")
    return text


def _seconds(name: str, value: object) -> float:
    """A moment as seconds since 1970, from that, an aware datetime, or ISO 8601 text with an offset."""
    moment = value
    try:
        if isinstance(moment, str):
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        if isinstance(moment, datetime) and moment.tzinfo is not None:
            moment = moment.timestamp()
    except (ValueError, OverflowError):
        pass
    if isinstance(moment, bool) or not isinstance(moment, (int, float)) or not 0 <= moment < _YEAR_10000:
        raise InvalidMessage(
            f"a message's {name} is a moment, not {shorten(value)}: pass seconds since 1970, a datetime with a time zone, or "
            "ISO 8601 text with an offset"
        )
    return float(moment)


def _tool_calls(name: str, value: object) -> list[dict[str, JSON]]:
    if not isinstance(value, (list, tuple)):
        raise InvalidMessage(f"a message's {name} are a list of dicts, not {shorten(value)}")
    return [_tool_call(call) for call in json_value(value, name, InvalidMessage)]


def _tool_call(call: JSON) -> dict[str, JSON]:
    """A tool call as {"id", "name", "arguments"}; OpenAI's nested form is taken too, a missing id is made."""
    if not isinstance(call, dict):
        raise InvalidMessage(f"a tool call is a dict with a name and arguments, not {shorten(call)}")
    inner = call.get("function") or call
    arguments = inner.get("arguments") or {} if isinstance(inner, dict) else None
    if isinstance(arguments, str):
        arguments = _parsed(arguments)
    if not isinstance(arguments, dict) or not isinstance(inner.get("name"), str):
        raise InvalidMessage(f"a tool call has a name and a dict of arguments: {shorten(call, 80)} has not")
    return {"id": str(call.get("id") or new_id()), "name": inner["name"], "arguments": arguments}


def _parsed(arguments: str) -> dict[str, JSON]:
    """A call's arguments, from text; what is no object of values that can be stored is kept as it is, for the tool's check."""
    try:
        found = json_value(from_json(arguments), "arguments", InvalidMessage)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {"_text": arguments}


_FIELDS: Mapping[str, Callable[[str, Any], Any]] = {
    **dict.fromkeys(("id", "turn"), _id),
    **dict.fromkeys(("tool_call_id", "name", "raw"), _text),
    "timestamp": _seconds,
    "tool_calls": _tool_calls,
}
OWN_FIELDS = tuple(_FIELDS.keys() - {"turn"})  # of a message, beside role, content and metadata, that a caller may give


def _checked_content(role: str, content: JSON, fields: Mapping[str, JSON]) -> JSON:
    if content == "" and role == "assistant" and fields.get("tool_calls"):
        content = None  # as OpenAI's API has it: calls, and nothing said
    if isinstance(content, str):
        return json_value(content, "content", InvalidMessage)
    if content is None:
        if role == "assistant" and fields.get("tool_calls"):
            return None
        raise InvalidMessage(f"the content of a message of role {role!r} is None: pass text (it may be empty)")
    if not isinstance(content, (list, tuple)):
        raise InvalidMessage(
            f"a message's content is text or a list of parts, not {type(content).__name__} ({shorten(content)}): "
            "pass str(content)"
        )
    for number, part in enumerate(content):
        if not isinstance(part, (str, dict)):
            raise InvalidMessage(
                f"content[{number}] is {shorten(part)}: a part of a content is text or a dict such as "
                "{'type': 'text', 'text': '…'}"
            )
    return json_value(content, "content", InvalidMessage)


def draft(said: Message, turn: str | None = None, message_id: str | None = None) -> Draft:
    """The log entry to be of a message. Its id and time are kept where it has them, so that a copy is known as the same."""
    if ABOUT.isdisjoint(said):
        return Draft("message", _own(said), id=message_id or new_id(), turn=turn)
    body = {name: value for name, value in said.items() if name not in ABOUT}
    known = message_id or said.get("id") or new_id()
    return Draft("message", _own(body), id=known, turn=turn, time=said.get("timestamp"), raw=said.get("raw"))


def from_entry(entry: Entry) -> Message:
    """The message that a "message" entry holds. It shares the entry's values: `handed_out` copies them for somebody else.

    `CorruptStore` where that is no message.
    """
    if entry.body.get("role") not in ROLES or ("tool_calls" in entry.body and not _are_calls(entry.body["tool_calls"])):
        raise CorruptStore(f"entry {entry.position} is no message: its role or its tool calls are none. Restore a copy")
    if entry.raw is not None:
        about = {"id": entry.id, "timestamp": entry.time, "raw": entry.raw}
        return Message(entry.body, **about) if entry.turn is None else Message(entry.body, **about, turn=entry.turn)
    if entry.turn is None:
        return Message(entry.body, id=entry.id, timestamp=entry.time)
    return Message(entry.body, id=entry.id, timestamp=entry.time, turn=entry.turn)


def _are_calls(calls: object) -> bool:
    """Is this what `_tool_calls` makes?"""
    return isinstance(calls, list) and all(
        isinstance(call, dict) and isinstance(call.get("id"), str) and isinstance(call.get("arguments"), dict) for call in calls
    )


def handed_out(messages: Iterable[Message]) -> list[Message]:
    """Copies for a caller, so that a change to one does not change the original."""
    return [said if _NESTED.isdisjoint(map(type, said.values())) else Message(copied(said)) for said in messages]


def _own(body: dict[str, Any]) -> dict[str, Any]:
    """A copy of a message's values; the very same where all are text and numbers, as nearly always."""
    return body if _NESTED.isdisjoint(map(type, body.values())) else copied(body)
