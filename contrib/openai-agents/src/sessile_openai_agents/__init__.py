"""Sessions of the OpenAI Agents SDK, kept by sessile: any store, forks, search, and everything else that a session can."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from agents.memory import SessionSettings

from sessile import AsyncSession, Message

__all__ = ["SessileSession"]

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}
_CALL, _OUTPUT = "function_call", "function_call_output"


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
        return items if most is None else items[len(items) - min(most, len(items)) :]

    async def add_items(self, items: Sequence[Any]) -> None:
        """Append items in one commit: all of them or none."""
        await self.session.add_messages(to_messages(items))

    async def pop_item(self) -> Any:
        """Take back the last item, in one commit, and return it; None where there is none.

        If the last message holds several items, the session is locked (`exclusive`) while one is removed.
        """
        last = await self.session.get_history(1)
        if last and len(to_items(last[0])) > 1:
            async with self.session.exclusive():
                return await self._pop_part()
        popped = await self.session.pop()
        *rest, item = to_items(popped[0]) if popped else [None]
        if rest:  # somebody else was first, and this is another message
            await self.add_items(rest)
        return item

    async def _pop_part(self) -> Any:
        """Take back the last item, while nobody else can say or take back anything."""
        *before, last = [None, *await self.session.get_history(2)]
        if last is None:
            return None
        *rest, item = to_items(last)
        await self.session.replace_tail(before[-1], to_messages(rest))
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
    said: dict[str, Any] = {"role": "assistant", "raw": json.dumps(group, ensure_ascii=False)}
    if _kind(last) == "output":
        return {**said, "role": "tool", "content": _text(last.get("output")), "tool_call_id": str(last.get("call_id", ""))}
    if _kind(last) == "input":
        said["role"] = _ROLES[str(last["role"])]
    said["content"] = "".join(_text(item.get("content")) for item in group if _kind(item) in ("input", "message"))
    if calls := [_call(item) for item in group if _kind(item) == "call"]:
        said["tool_calls"] = calls
    return said


def _call(item: Mapping[str, Any]) -> dict[str, Any]:
    """A tool call, whose arguments are an object: as text where a model wrote something else."""
    text = item.get("arguments") or "{}"
    try:
        arguments = json.loads(text)
        json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError):
        arguments = None
    arguments = arguments if isinstance(arguments, dict) else {"_text": str(text)}
    return {"id": str(item.get("call_id", "")), "name": str(item.get("name", "")), "arguments": arguments}


def to_items(said: Message) -> list[Any]:
    """The items a message was made from. For a message of another framework: equivalent items."""
    if said.raw is not None:
        return list(json.loads(said.raw))
    if said.role == "tool":
        return [{"type": _OUTPUT, "call_id": said.tool_call_id, "output": said.text}]
    items: list[Any] = [{"role": said.role, "content": said.text}] if said.text or not said.tool_calls else []
    for call in said.tool_calls:
        arguments = json.dumps(call["arguments"], ensure_ascii=False)
        items.append({"type": _CALL, "call_id": call["id"], "name": call["name"], "arguments": arguments})
    return items


def _text(content: Any) -> str:
    """The text of a content, of a list of parts, or of an output."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part) for part in content)
    if isinstance(content, Mapping):
        return str(content.get("text") or content.get("refusal") or "")
    return "" if content is None else json.dumps(content)
