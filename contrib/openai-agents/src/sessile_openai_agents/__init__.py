"""Sessions of the OpenAI Agents SDK, kept by sessile: any store, forks, search, and everything else that a session can."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agents.memory import SessionSettings

from sessile import AsyncSession, Message

__all__ = ["SessileSession"]

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


class SessileSession:
    """The SDK's `Session` over an `AsyncSession`: `Runner.run(agent, "Hi", session=SessileSession("s", store=URL))`.

    session_id, options: as for `sessile.Session`. session_settings: the SDK's, of which `limit` is how many items are sent by
    default. `session` is the `AsyncSession` beneath: fork it, search it, or go on with it under another framework.

    Each item comes back as it was given, key by key, and can be read as a message by everybody: what has no text becomes an
    assistant's message without any.
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
        return [to_item(said) for said in await self.session.get_history(None if most is None else max(0, most))]

    async def add_items(self, items: Sequence[Any]) -> None:
        """Append items in one commit: all of them or none."""
        await self.session.add_messages([to_message(item) for item in items])

    async def pop_item(self) -> Any:
        """Take back the last item, in one commit, and return it; None where there is none."""
        popped = await self.session.pop()
        return to_item(popped[0]) if popped else None

    async def clear_session(self) -> None:
        """Take back all items. They stay in the log, until the session is deleted."""
        await self.session.clear()

    async def close(self) -> None:
        """Let go of the session."""
        await self.session.close()


def to_message(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item as a message that anybody can read, with the item itself beside it."""
    kind = item.get("type", "message")
    said: dict[str, Any]
    if kind == "function_call":
        call = {"id": str(item.get("call_id", "")), "name": str(item.get("name", "")), "arguments": item.get("arguments") or "{}"}
        said = {"role": "assistant", "content": None, "tool_calls": [call]}
    elif kind == "function_call_output":
        said = {"role": "tool", "content": _text(item.get("output")), "tool_call_id": str(item.get("call_id", ""))}
    else:
        text = _text(item.get("content") or item.get("summary"))
        said = {"role": _ROLES.get(str(item.get("role")), "assistant"), "content": text}
        if kind != "message":
            said["metadata"] = {"type": str(kind)}
    return {**said, "raw": json.dumps(item, ensure_ascii=False)}


def to_item(said: Message) -> Any:
    """The item that a message was; of a message that another framework wrote, an item that says the same."""
    if said.raw is not None:
        return json.loads(said.raw)
    if said.tool_calls:
        call = said.tool_calls[0]
        arguments = json.dumps(call["arguments"])
        return {"type": "function_call", "call_id": call["id"], "name": call["name"], "arguments": arguments}
    if said.role == "tool":
        return {"type": "function_call_output", "call_id": said.tool_call_id, "output": said.text}
    return {"role": said.role, "content": said.text}


def _text(content: Any) -> str:
    """The text of a content, of a list of parts, or of an output."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(_text(part) for part in content)
    if isinstance(content, Mapping):
        return str(content.get("text") or content.get("refusal") or "")
    return "" if content is None else json.dumps(content)
