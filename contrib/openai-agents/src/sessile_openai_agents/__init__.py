"""Sessions of the OpenAI Agents SDK, kept by sessile: any store, forks, search, and everything else that a session can."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from agents.memory import SessionSettings

from sessile import AsyncSession, Message
from sessile.errors import Conflict

__all__ = ["SessileSession"]

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_CALL, _OUTPUT = "function_call", "function_call_output"
_ITEMS = "openai-agents"  # the key of items in `raw`, which may be another framework's


class SessileSession:
    """The SDK's `Session` over an `AsyncSession`: `Runner.run(agent, "Hi", session=SessileSession("s", store=URL))`.

    session_id, options: as for `sessile.Session`. session_settings: the SDK's, of which `limit` is how many items are sent by
    default. `session` is the `AsyncSession` beneath: fork it, search it, or go on with it under another framework.

    Each item comes back as it was given, key by key. Everybody else sees messages: an assistant's text, the calls it makes at
    once, and the reasoning before them are one.
    """

    def __init__(self, session_id: str | None = None, *, session_settings: SessionSettings | None = None, **options: Any) -> None:
        self.session = AsyncSession(session_id, **options)
        self.session_settings: SessionSettings | None = session_settings or SessionSettings()

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self.session.session_id

    async def get_items(self, limit: int | None = None) -> list[Any]:
        """The latest `limit` items (None: as the settings say, else all), oldest first."""
        most = limit if limit is not None else self.session_settings.limit if self.session_settings else None
        most = None if most is None else max(0, most)
        items = [item for said in await self.session.get_history(most) for item in to_items(said)]
        return items if most is None else items[max(0, len(items) - most) :]

    async def add_items(self, items: Sequence[Any]) -> None:
        """Append items in one commit: all of them or none."""
        await self.session.add_messages(to_messages(items))

    async def pop_item(self) -> Any:
        """Take back the last item, in one commit, and return it; None where there is none."""
        while True:
            version = await self.session.version
            *before, last = [None, None, *await self.session.get_history(2)]
            if last is None:
                return None
            *rest, item = to_items(last)  # several items may be one message for others
            try:
                await self.session.replace_tail(before[-1], to_messages(rest), expected=version)
            except Conflict:  # somebody else was first
                continue
            return item

    async def clear_session(self) -> None:
        """Take back all items. They stay in the log, until the session is deleted."""
        await self.session.clear()

    async def close(self) -> None:
        """Let go of the session."""
        await self.session.close()


def to_messages(items: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Items as messages that anybody can read, with the items themselves beside them."""
    groups: list[list[Mapping[str, Any]]] = []
    for item in items:
        if groups and _belongs(groups[-1], item):
            groups[-1].append(item)
        else:
            groups.append([item])
    return [_message(group) for group in groups]


def _kind(item: Mapping[str, Any]) -> str:
    """What an item is among others: "call", "output", "message" of an assistant, "input" of others, or "thought"."""
    kind = item.get("type", "message")
    if kind in (_CALL, _OUTPUT):
        return "call" if kind == _CALL else "output"
    role = _ROLES.get(str(item.get("role")))
    return "thought" if role is None else "message" if role == "assistant" else "input"


def _belongs(group: Sequence[Mapping[str, Any]], item: Mapping[str, Any]) -> bool:
    """Is an item of the same message as those before it: thoughts, then a text, then calls?"""
    order = ["thought", "message", "call"]
    last, kind = _kind(group[-1]), _kind(item)
    return last in order and kind in order and (order.index(last) < order.index(kind) or last == kind != "message")


def _message(group: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    last = group[-1]
    said: dict[str, Any] = {"role": "assistant", "raw": json.dumps({_ITEMS: group}, ensure_ascii=False)}
    if _kind(last) == "output":
        return {**said, "role": "tool", "content": _text(last.get("output")), "tool_call_id": str(last.get("call_id", ""))}
    if _kind(last) == "input":
        said["role"] = _ROLES[str(last["role"])]
    said["content"] = "".join(_text(item.get("content")) for item in group if _kind(item) in ("input", "message"))
    if calls := [item for item in group if _kind(item) == "call"]:  # arguments that are no JSON object stay text
        named = [(str(item.get("call_id", "")), str(item.get("name", "")), item.get("arguments") or "{}") for item in calls]
        said["tool_calls"] = [dict(zip(("id", "name", "arguments"), call, strict=True)) for call in named]
    return said


def to_items(said: Message) -> list[Any]:
    """The items a message was made from. For a message of another framework: equivalent items."""
    with suppress(ValueError, TypeError, LookupError, RecursionError):  # none, or of another framework
        return list(json.loads(said.raw or "{}")[_ITEMS])
    if said.role == "tool":
        return [{"type": _OUTPUT, "call_id": said.tool_call_id, "output": said.text}]
    content = said.text if isinstance(said.content, str) or said.role == "assistant" else [*map(_input_part, said.content or ())]
    items: list[Any] = [{"role": said.role, "content": content}] if content or not said.tool_calls else []
    for call in said.tool_calls:
        arguments = json.dumps(call["arguments"], ensure_ascii=False)
        items.append({"type": _CALL, "call_id": call["id"], "name": call["name"], "arguments": arguments})
    return items


def _input_part(part: Any) -> dict[str, Any]:
    """A part of a content as the SDK sends it: a text, or a picture by its URL."""
    url = part.get("image_url") if isinstance(part, Mapping) else None
    url = url.get("url") if isinstance(url, Mapping) else url
    return {"type": "input_image", "image_url": url, "detail": "auto"} if url else {"type": "input_text", "text": _text(part)}


def _text(content: Any) -> str:
    """The text of a content, of a list of parts, or of an output."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part) for part in content)
    if isinstance(content, Mapping):
        return str(content.get("text") or content.get("refusal") or "")
    return "" if content is None else json.dumps(content)
