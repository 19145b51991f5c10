"""What a watch hears: all that is added after what its session has read, whichever face watches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sessile import AsyncSession, MemorySessionStore, Session
from sessile.errors import Closed

MADE: dict[str, Any] = {
    "fork": lambda s: s.fork(),
    "merge": lambda s: s.merge(s.fork()),
    "edit": lambda s: s.edit(s.messages[-1], "y"),
}


@pytest.mark.parametrize("made", MADE)
def test_a_session_that_was_made_of_another_is_watched_from_the_call_on(made: str) -> None:
    parent = Session("s", store=MemorySessionStore())
    parent.add_messages([("user", "a"), ("assistant", "x")])
    session = MADE[made](parent)
    messages = session.watch(timeout=0)
    Session(session.session_id, store=parent.store).add_message("user", "heard")
    assert [message.text for message in messages] == ["heard"]


def watch_blocking(store: Any, meanwhile: Any) -> list[str]:
    with Session("s", store=store) as session:
        assert len(session.messages) == 1
        meanwhile("read")
        messages = session.watch(timeout=0)
        meanwhile("called")
        return [message.text for message in messages]


def watch_async(store: Any, meanwhile: Any) -> list[str]:
    async def main() -> list[str]:
        async with AsyncSession("s", store=store) as session:
            assert len(await session.messages) == 1
            meanwhile("read")
            messages = session.watch(timeout=0)
            meanwhile("called")
            return [message.text async for message in messages]

    return asyncio.run(main())


@pytest.mark.parametrize("watch", [watch_blocking, watch_async])
def test_what_is_said_before_the_first_step_is_heard(watch: Any) -> None:
    store = MemorySessionStore()
    speaker = Session("s", store=store)
    speaker.add_message("user", "before")
    assert watch(store, lambda when: speaker.add_message("user", f"once it was {when}")) == [
        "once it was read",
        "once it was called",
    ]


def test_a_closed_session_is_not_watched() -> None:
    session = Session("s", store=MemorySessionStore())
    session.close()
    with pytest.raises(Closed):
        session.watch()

    async def main() -> None:
        session = AsyncSession("s", store=MemorySessionStore())
        await session.close()
        with pytest.raises(Closed):
            session.watch()

    asyncio.run(main())
