"""What sessions that are watched, and in which nothing happens, cost those who write."""

from __future__ import annotations

import asyncio
from typing import Any

from sessile import AsyncSession, Session
from sessile.store.opening import open_store
from tests.benchmarks.floor import TEXT
from tests.benchmarks.test_cost import _report, medians, microseconds, report  # noqa: F401  (a fixture)

_WATCHERS = 200


async def _watch(session: AsyncSession) -> None:
    async for _ in session.watch():
        pass


async def _beside_watchers(url: str) -> list[float]:
    watched = open_store(f"{url}?pool_size=4")
    sessions = [AsyncSession(f"w{number}", store=watched) for number in range(_WATCHERS)]
    watching = [asyncio.ensure_future(_watch(session)) for session in sessions]
    await asyncio.sleep(2)
    times = await asyncio.to_thread(_appends, watched)
    for session in sessions:
        await session.close()
    await asyncio.gather(*watching)
    watched.close()
    return times


def _appends(store: Any) -> list[float]:
    with Session("s", store=store) as session:
        return list(medians(400, lambda: session.add_message("user", TEXT)))


def test_an_append_beside_200_idle_watchers(redis_server: Any) -> None:
    with_none = _appends(open_store(f"{redis_server.url()}?pool_size=4"))
    with_many = asyncio.run(_beside_watchers(redis_server.url()))
    report(
        f"append beside {_WATCHERS} idle watchers : alone, redis",
        with_many[0] / with_none[0],
        2.0,
        microseconds(with_many[0], with_none[0]),
    )
