"""Many who begin the same session at once, through one store: the first message of each is there."""

from __future__ import annotations

import asyncio
from typing import Any

from sessile import AsyncSession, RedisSessionStore


def test_what_many_say_first_in_one_session_is_all_there(redis_server: Any) -> None:
    store = RedisSessionStore(redis_server.url())

    async def say(session_id: str, number: int) -> None:
        async with AsyncSession(session_id, store=store) as session:
            await session.add_message("user", str(number))

    async def all_at_once() -> None:
        for round_ in range(20):
            await asyncio.gather(*(say(f"s{round_}", number) for number in range(20)))
            async with AsyncSession(f"s{round_}", store=store) as session:
                assert sorted(int(said.text) for said in await session.messages) == [*range(20)]

    asyncio.run(all_at_once())
    store.close()
