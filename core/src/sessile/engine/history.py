"""A session's messages, and entries of plugins' own: adding and reading them, and all that there is to store in one commit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any

import attrs

from sessile.conversation.foreign import Api
from sessile.conversation.messages import OWN_FIELDS, AnyRole, Message, draft, from_entry, handed_out, message
from sessile.conversation.model import Usage
from sessile.conversation.openai_forms import to_openai as write_openai
from sessile.conversation.prompt.context import estimate_tokens
from sessile.conversation.prompt.past import KEPT, PastTurn, all_shown, as_shown
from sessile.conversation.taking import MessageLike, as_messages
from sessile.drive.arguments import Count, Unchecked
from sessile.drive.shown import shorten
from sessile.engine.handle import Handle
from sessile.engine.state import own_values, state_change
from sessile.errors import InvalidInput
from sessile.log.encoding import JSON, copied, json_value
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import Header
from sessile.log.lineage import pieces
from sessile.log.stamping import Change, Draft

_KIND = re.compile(r"[\w-]+(\.[\w-]+)+")
_OwnEntry = Annotated[tuple[str, Mapping[str, JSON]], Unchecked]  # (kind, body)
_OBSERVERS = {"user": "on_user_message", "assistant": "on_agent_message"}


async def add_message(
    h: Handle, /, role: AnyRole, content: JSON, metadata: Mapping[str, JSON] | None = None, **more: JSON
) -> Message:
    """Append one message, durable when this returns.

    metadata: JSON values stored with the message. Other keywords are added to it, except a message's own fields: tool_calls
    (with None as content), tool_call_id and name (for the result of a tool), id, timestamp, raw.
    Raises `InvalidMessage` for a role, content or metadata that cannot be stored; nothing is written then.
    """
    fields = {name: more.pop(name) for name in OWN_FIELDS if name in more}
    return (await store_messages(h, [message(role, content, {**(metadata or {}), **more}, **fields)]))[0]


async def add_messages(h: Handle, messages: Iterable[MessageLike]) -> list[Message]:
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


# -- all at once, and entries of plugins' own


@attrs.frozen
class Committed:
    """What `commit` has stored, in order, and the session's `version` then."""

    version: int
    messages: list[Message]
    entries: list[Entry]


async def commit(
    h: Handle,
    *,
    messages: Iterable[MessageLike] = (),
    entries: Iterable[_OwnEntry] = (),
    state: Mapping[str, JSON] | None = None,
    metadata: Mapping[str, JSON] | None = None,
    title: str | None = None,
    expected: int | None = None,
) -> Committed:
    """Store all of this in one commit, or nothing of it.

    messages: as for `add_messages`. entries: (kind, body) pairs, as for `append`. state: keys to set, the session's own (those
    of "user:", "app:" and "temp:" are kept elsewhere: `InvalidState`); others stay. metadata, title: in place of what is there.
    expected: the `version` that the session must be at (0: nothing is stored yet), else `Conflict`; None: behind what others
    committed meanwhile.
    """
    said = as_messages(messages)
    drafts = [*map(own_draft, entries), *map(draft, said)]
    sets = own_values(state or {})
    fields: dict[str, JSON] = {} if title is None else {"title": json_value(title, "title")}
    if metadata is not None:
        fields["metadata"] = json_value(dict(metadata), "metadata")

    def make(header: Header) -> Change | None:
        changed = state_change(header, sets)
        every = [*(changed.drafts if changed else ()), *drafts]  # a point behind a message has all that came with it
        return Change(every, {**fields, **(changed.fields if changed else {})}) if every or fields else None

    after, stored = await h.commit_behind(make, expected=expected)
    new = handed_out(from_entry(entry) for entry in stored if entry.kind == MESSAGE)
    await observe(h, new)
    return Committed(after.version, new, [_entry_copy(entry) for entry in stored if "." in entry.kind])


async def append(h: Handle, kind: str, body: Mapping[str, JSON] | None = None) -> Entry:
    """Append an entry of a plugin's own, durable when this returns.

    kind: has a dot, such as "memory.cursor". body: a dict of JSON values; None: an empty one. The entry is in the log as a
    message is (forks inherit it, a revert takes it back, `export` and copies have it), but it is no message: it is not counted,
    shown, sent to a model, or merged, and `save`, which keeps what was said, has none. `InvalidInput` for another kind or body.
    """
    return (await commit(h, entries=[(kind, {} if body is None else body)])).entries[0]


async def entries(h: Handle, kind: str | None = None, limit: Count | None = None) -> list[Entry]:
    """The entries of plugins' own that count, oldest first: those of a kind or all, the last `limit` or all. They are copies."""
    if kind is not None:
        check_kind(kind)
    header = await h.refresh()
    found: list[Entry] = []
    if limit is None:
        found = [entry for entry in await h.entries(header, kind) if "." in entry.kind]
    elif limit:
        async for part in h.backwards(header, limit, lambda part: h.read(part, kind)):
            found[:0] = [entry for entry in part if "." in entry.kind]
            if len(found) >= limit:
                break
        found = found[-limit:]
    return [*map(_entry_copy, found)]


def own_draft(entry: object) -> Draft:
    """The entry to be of a plugin's own kind, from (kind, body)."""
    if not isinstance(entry, (tuple, list)) or len(entry) != 2:
        raise InvalidInput(f"{shorten(entry)} is no entry: pass (kind, body), such as ('memory.cursor', {{'at': 1}})")
    kind, body = entry
    if not isinstance(body, Mapping):
        raise InvalidInput(f"the body of an entry is a dict, not {shorten(body)}")
    return Draft(check_kind(kind), json_value(dict(body), "body"))


def check_kind(kind: object) -> str:
    """`InvalidInput` for what is no kind of a plugin's entries."""
    if not isinstance(kind, str) or not _KIND.fullmatch(kind):
        raise InvalidInput(f"{shorten(kind)} is no kind of a plugin's entries: pass two names, such as 'memory.cursor'")
    return kind


def _entry_copy(entry: Entry) -> Entry:
    return attrs.evolve(entry, body=copied(entry.body))


async def version(h: Handle) -> int:
    """A number that grows with each commit, from a random start; 0 if the session is not stored. See `commit`."""
    return (await h.refresh()).version


# -- reading


async def get_history(h: Handle, limit: Count | None = None, *, after: Message | str | None = None) -> list[Message]:
    """The current messages, oldest first. limit: only the last so many. after: only those after this message (or its id).

    Turns stay whole, in the order they began, though writers may have interleaved. Messages of a turn without a reply,
    or whose tool calls have no results, have `open` set. What other processes committed is seen. All are copies.
    """
    header = await h.refresh(min(limit or 0, KEPT))
    if limit == 0 and after is None:
        return []
    if after is not None:
        _, messages = await behind(h, header, after)
    elif limit is None and header.count > 2 * KEPT:  # so many are not kept
        return await _all_shown(h, header)
    else:
        messages = as_shown(await h.past(header, limit))
    return handed_out(messages[-limit:] if limit else messages if limit is None else [])


async def _all_shown(h: Handle, header: Header) -> list[Message]:
    """All that is shown, the caller's own."""
    messages = all_shown(header, await h.messages(header))
    return messages if h.commits.can.read_messages else handed_out(messages)


async def behind(h: Handle, header: Header, after: Message | str) -> tuple[Message, list[Message]]:
    """A message, or the one of an id, which is looked for from the end, and what is shown behind it."""
    message_id = after if isinstance(after, str) else after.id
    if message_id is None:
        raise InvalidInput(f"{shorten(after)} is not stored: pass a message that the session returned, or its id")
    limit = 64
    while True:
        shown = as_shown(await h.past(header, min(limit, header.count)))
        found = [index for index, said in enumerate(shown) if said.id == message_id]
        if found:
            return shown[found[-1]], shown[found[-1] + 1 :]
        if limit >= header.count:
            raise not_there(h.session_id, message_id)
        limit *= 4


def not_there(session_id: str, message_id: str) -> InvalidInput:
    """The error for the id of a message that does not count."""
    return InvalidInput(
        f"message {message_id!r} is not in the current history of session {session_id!r}: it belongs to another session, or was "
        "reverted"
    )


async def get_messages(h: Handle) -> list[Message]:
    """All messages that count, oldest first (see `get_history`)."""
    return await get_history(h)


async def message_count(h: Handle) -> int:
    """How many messages count, without reading them."""
    return (await h.refresh()).count


async def to_openai(h: Handle, limit: Count | None = None, *, api: Api = "chat") -> list[Any]:
    """The current messages as OpenAI's client takes them, but for what its server refuses: turns that are open, and calls or
    results that have no other half. limit: only the last turns that have so many messages together at most.

    api: "chat" for `messages` of chat completions, "responses" for `input` of the Responses API. What these have no place for,
    such as metadata and ids, is left out. `add_messages` and `set_history` take both forms, and so do SDKs' objects.
    """
    header = await h.refresh()
    turns = await h.past(header, limit) if header.count and limit != 0 else []
    sent: list[Message] = []
    for turn in reversed(turns):
        whole, _ = turn.sendable(estimate_tokens)
        if limit is not None and len(sent) + len(whole) > limit:
            break
        sent[:0] = whole
    return write_openai(sent, api)


async def usage(h: Handle, *, reverted: bool = False) -> Usage:
    """The tokens that the replies took, as the models reported them, summed up over the current messages.

    Those that were inherited or merged count here as they do where they were said. reverted: count what was said in this session
    and taken back, too: it was paid for all the same. Messages of one id count once. Reads all messages.
    """
    header = await h.refresh()
    found = {said.id: said for said in await h.messages(header)} if header.count else {}
    if reverted and header.head:
        for part in pieces(Segment(header.depth, 0, header.head)):
            found.update({said.id: said for said in await h.read_messages(part)})
    return Usage.of(found.values())


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
