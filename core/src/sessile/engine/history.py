"""A session's messages: adding, reading and replacing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sessile.conversation.messages import OWN_FIELDS, Message, as_messages, draft, from_entry, handed_out, message
from sessile.conversation.past import KEPT, PastTurn
from sessile.drive.arguments import Count
from sessile.engine.handle import Handle
from sessile.log.encoding import JSON
from sessile.log.header import Header
from sessile.log.stamping import Change

_OBSERVERS = {"user": "on_user_message", "assistant": "on_agent_message"}


async def add_message(
    h: Handle, /, role: str, content: JSON, metadata: Mapping[str, JSON] | None = None, **more: JSON
) -> Message:
    """Append one message, durable when this returns.

    metadata: JSON values that are kept with it, as every further keyword is but those that a message has: tool_calls (with
    None as content), tool_call_id and name of a tool's result, id, timestamp.
    Raises `InvalidMessage` for a role, content or metadata that cannot be stored; nothing is written then.
    """
    fields = {name: more.pop(name) for name in OWN_FIELDS if name in more}
    return (await store_messages(h, [message(role, content, {**(metadata or {}), **more}, **fields)]))[0]


async def add_messages(h: Handle, messages: Iterable[Any]) -> list[Message]:
    """Append several messages in one commit: all of them or none. Each is a dict or `Message`, or (role, content)."""
    checked = as_messages(messages)
    return await store_messages(h, checked) if checked else []


async def store_messages(h: Handle, messages: Sequence[Message], turn: str | None = None) -> list[Message]:
    """Commit messages and tell the observers of each."""
    change = Change([draft(said, turn) for said in messages])
    stored = handed_out(map(from_entry, await h.commit(lambda _: change)))
    await observe(h, stored)
    return stored


async def observe(h: Handle, stored: Iterable[Message]) -> None:
    """Call `on_user_message` or `on_agent_message` for each of these stored messages."""
    for said in stored:
        if (hook := _OBSERVERS.get(said.role)) and h.plugins.implementations(hook):
            (said,) = handed_out([said])
            await h.hook(hook, message=said, content=said.content, metadata=said.metadata)


async def get_history(h: Handle, limit: Count | None = None) -> list[Message]:
    """The messages that count, oldest first: all of them, or the last `limit`.

    Turns stay whole, in the order they began, though writers may have interleaved. Messages of a turn without a reply,
    or whose tool calls have no results, have `open` set. What other processes committed is seen. All are copies.
    """
    header = await h.refresh(min(limit or 0, KEPT))
    if limit == 0:
        return []
    messages: list[Message] = []
    for turn in await h.past(header, limit):
        messages += turn.messages if turn.id is None else turn.shown()
    return handed_out(messages if limit is None else messages[-limit:])


async def get_messages(h: Handle) -> list[Message]:
    """All messages that count, oldest first (see `get_history`)."""
    return await get_history(h)


async def message_count(h: Handle) -> int:
    """How many messages count, without reading them."""
    return (await h.refresh()).count


async def last_turn(h: Handle, header: Header) -> PastTurn | None:
    """The last turn; outside of turns, the last user's message and what follows it. None where nothing was said."""
    limit = 1
    while True:
        turns = await h.past(header, limit)
        if not turns or len(turns) > 1 or turns[0].id is not None or turns[0].messages[0]["role"] == "user":
            break
        if limit >= header.count:
            break
        limit = 4 * len(turns[0].messages)  # it may have begun before what was read
    return turns[-1] if turns else None
