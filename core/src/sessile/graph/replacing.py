"""Replacing a session's messages: what was there counts no more, but stays in the log, and a snapshot leads back to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sessile.conversation.messages import ABOUT, Message, as_messages, draft
from sessile.engine.handle import Handle
from sessile.graph.points import state_at
from sessile.log.encoding import same
from sessile.log.header import Header
from sessile.log.lineage import reverted, snapshot_draft
from sessile.log.stamping import Change


async def set_history(h: Handle, messages: Iterable[Any]) -> None:
    """Make these messages the history. What was there counts no more; a snapshot "before set_history" leads back to it.

    A history that only goes on from the present one is appended; the same one changes nothing. The state stays as it is.
    """
    wanted = as_messages(messages)
    h.unanswered = None  # the question of a turn that failed is history now: the same one is asked anew

    async def prepare(header: Header) -> Change | None:
        present = [said for turn in await h.past(header, None) for said in turn.messages]
        if all(map(_same, present, wanted)) and len(present) <= len(wanted):
            rest = [draft(said) for said in wanted[len(present) :]]
            return Change(rest) if rest else None
        return await _instead(h, header, wanted)

    await h.commit_after(prepare)


async def _instead(h: Handle, header: Header, wanted: Sequence[Message]) -> Change:
    back = await emptied(h, header, "before set_history")
    return Change([*back.drafts, *map(draft, wanted)], {**back.fields, "count": len(wanted)})


async def emptied(h: Handle, header: Header, label: str) -> Change:
    """A snapshot of where the session is, and a revert to the beginning, with the state as it is."""
    state, base = await state_at(h, header.depth, header.base)
    here = snapshot_draft(header, label)
    back = reverted(header, None, count=0, state=state, base=base, position=header.head + 1)
    return Change([here, *back.drafts], {**back.fields, "last_snapshot": [header.depth, header.head], "mark": None})


def _same(old: Message, new: Message) -> bool:
    """Does a message say what another says? What the log knows of it, such as its time, counts only where it is given."""
    said = {name for name in (*old, *new) if name not in ABOUT}
    return new.get("id", old["id"]) == old["id"] and all(same(new.get(name), old.get(name)) for name in said)
