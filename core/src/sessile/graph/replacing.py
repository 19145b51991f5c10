"""Replacing what a session says last, or all of it: what goes counts no more, but stays in the log.

A revert to before the first message that goes, and behind it what others said since, all in one commit. The state stays.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from sessile.conversation.messages import ABOUT, Message, draft, from_entry, handed_out
from sessile.conversation.taking import MessageLike, as_messages
from sessile.drive.arguments import Count
from sessile.engine.committing.commits import overtaken
from sessile.engine.handle import Handle
from sessile.engine.history import behind
from sessile.graph.points import Target, just_before, mark_at, state_at, to_go_back_to
from sessile.log.encoding import same
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import Header
from sessile.log.lineage import pieces_backwards, reverted, snapshot_draft
from sessile.log.stamping import Change, Draft, copy_of


async def set_history(h: Handle, messages: Iterable[MessageLike]) -> None:
    """Make these messages the history. What was there counts no more; a snapshot "before set_history" leads back to it.

    What both have at the beginning stays as it is, in whole turns: a history that goes on from the present one is appended, and
    the same one changes nothing. The state stays, and so do entries of plugins' own.
    """
    wanted = as_messages(messages)
    h.unanswered = None  # the question of a turn that failed is history now: the same one is asked anew

    async def prepare(header: Header) -> Change | None:
        present = _listed(await h.past(header, None))
        both = _shared_beginning(present, wanted)
        rest = [draft(said) for said in wanted[both:]]
        if both == len(present):
            return Change(rest) if rest else None
        return await _instead(h, header, present[both:], rest, label="before set_history")

    await h.commit_after(prepare)


async def pop(h: Handle, n: Count = 1, *, expected: int | None = None) -> list[Message]:
    """Take back the last `n` messages, and return them, oldest first: all there are, where there are fewer.

    One commit. A message that others add meanwhile stays; it is stored again, so a watcher may receive it twice. A
    tool's call may be parted from its results, and a turn from its reply, so that it is open (`revert` never does that).
    expected: the `version` that the session must be at, else `Conflict`.
    """
    gone: list[Message] = []

    async def prepare(header: Header) -> Change | None:
        gone[:] = _listed(await h.past(header, n))[-n:] if n else []
        return await _instead(h, header, gone, []) if gone else None

    h.unanswered = None
    await h.commit_after(prepare, expected=expected)
    return handed_out(gone)


async def replace_tail(
    h: Handle, after: Message | str | None, messages: Iterable[MessageLike], *, expected: int | None = None
) -> list[Message]:
    """Replace every message after `after` (a message or its id; None: the whole history). Returns the new messages.

    One commit; what others say meanwhile stays, before these. `InvalidInput` where `after` does not count, `Conflict` where
    somebody else takes back some of the same meanwhile, or the session is not at the version `expected`. Observers are not told
    of them.
    """
    said = as_messages(messages)
    header = await h.refresh_for_change()
    if after is None:
        turn, gone = None, _listed(await h.past(header, None))
    else:
        last, gone = await behind(h, header, after)
        turn = last.turn if gone and gone[0].turn == last.turn else None  # else what is left of the turn would stay open
    asked = next((index for index, one in enumerate(said) if one.role == "user"), len(said))
    new = [draft(one, turn if index < asked else None) for index, one in enumerate(said)]  # a question ends the turn

    async def prepare(header: Header) -> Change | None:
        return await _instead(h, header, gone, new) if gone else Change(new) if new else None

    h.unanswered = None
    entries = await h.commit_after(prepare, expected=expected)
    return handed_out(map(from_entry, entries[len(entries) - len(new) :]))


async def clear(h: Handle) -> None:
    """Remove all messages and plugins' entries from the history; the state stays. The snapshot "before clear" leads back."""

    async def prepare(header: Header) -> Change | None:
        there = header.count or any("." in entry.kind for entry in await h.entries(header))
        return await emptied(h, header, "before clear") if there else None

    h.unanswered = None
    await h.commit_after(prepare)


async def emptied(h: Handle, header: Header, label: str) -> Change:
    """A snapshot of where the session is, and a revert to the beginning, with the state as it is."""
    return await _instead(h, header, None, [], label=label)


async def _instead(
    h: Handle, header: Header, gone: Sequence[Message] | None, new: Sequence[Draft], *, label: str | None = None
) -> Change:
    """The change that removes `gone` from the history (None: everything) and appends `new`. label: of a snapshot taken first."""
    target, kept = (Target(), []) if gone is None else await _before_all(h, header, gone)
    target = await to_go_back_to(h, target)
    state, base = await state_at(h, header.depth, header.base)
    here = [] if label is None else [snapshot_draft(header, label)]
    position = header.head + len(here)
    back = reverted(header, target.last, count=target.count, state=state, base=base, position=position)
    more = [*kept, *new]
    fields = {**back.fields, "count": target.count + len([said for said in more if said.kind == MESSAGE])}
    fields["mark"] = await mark_at(h, header, target) if target.last else None
    for name in ("state", "mark"):
        if same(fields.get(name), getattr(header, name)):  # nearly always
            fields.pop(name, None)
    if here:
        fields["last_snapshot"] = [header.depth, header.head]
    return Change([*here, *back.drafts, *more], fields)


async def _before_all(h: Handle, header: Header, gone: Sequence[Message]) -> tuple[Target, list[Draft]]:
    """The point before the first of some messages, and copies of what else counts from there on: others', plugins' own.

    `Conflict` where one of them does not count any more.
    """
    left = Counter((said.id, said.timestamp) for said in gone)
    since: list[Entry] = []
    async for part, entry in _backwards(h, header, 2 * len(gone)):
        if entry.kind == MESSAGE and left[entry.id, entry.time]:
            left[entry.id, entry.time] -= 1
            if not left.total():
                return await just_before(h, part, entry), [*map(copy_of, reversed(since))]
        elif entry.kind == MESSAGE or "." in entry.kind:
            since.append(entry)
    raise overtaken(h.session_id, header)


async def _backwards(h: Handle, header: Header, size: int) -> AsyncIterator[tuple[Segment, Entry]]:
    """The entries that count, the last one first, each with its range. size: so many are read at first."""
    async for part in h.ranges(header):
        for piece in pieces_backwards(part, size):
            for entry in reversed(await h.recall(piece)):
                yield part, entry


def _listed(turns: Iterable[Any]) -> list[Message]:
    return [said for turn in turns for said in turn.messages]


def _shared_beginning(present: Sequence[Message], wanted: Sequence[Message]) -> int:
    """How many messages both begin with, a turn whole or not at all: without its reply it would be an open one."""
    both = 0
    while both < min(len(present), len(wanted)) and _same(present[both], wanted[both]):
        both += 1
    while 0 < both < len(present) and present[both].turn is not None and present[both].turn == present[both - 1].turn:
        both -= 1
    return both


def _same(old: Message, new: Message) -> bool:
    """Does a message say what another says? What the log knows of it, such as its time, counts only where it is given."""
    if any(name in new and new[name] != old.get(name) for name in ("id", "timestamp", "raw")):
        return False
    return all(same(new.get(name), old.get(name)) for name in {*old, *new} - ABOUT)
