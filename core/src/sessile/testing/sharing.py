"""A session on two devices: watching what the other says, and exclusive use."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from sessile.errors import LeaseLost, LockTimeout
from sessile.session import AsyncSession, Session
from sessile.testing.fixtures import StoreFixtures, capability


class SharingTests(StoreFixtures):
    """See the module's text."""

    @capability("watch")
    def test_another_device_sees_what_is_said_within_a_second(self, open_store: Callable[[], Any]) -> None:
        here, there = open_store().store, open_store().store
        speaker = Session("s", store=here)
        speaker.add_message("user", "before")
        heard: list[tuple[str, float]] = []
        watcher = Session("s", store=there)
        messages = watcher.watch(timeout=5)

        def listen() -> None:
            for message in messages:
                heard.append((message.text, time.monotonic()))
                if message.text == "end":
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        said = []
        for text in ("one", "two", "end"):
            time.sleep(0.3)
            speaker.add_message("user", text)
            said.append((text, time.monotonic()))
        thread.join()
        assert [text for text, _ in heard] == ["one", "two", "end"]
        for (_, then), (_, now) in zip(said, heard, strict=True):
            assert now - then < 1
        assert list(watcher.watch(timeout=0.1)) == []

    @capability("watch")
    def test_watching_with_async_for(self, open_store: Callable[[], Any]) -> None:
        here, there = open_store().store, open_store().store

        async def listen(session: AsyncSession, begun: asyncio.Event) -> list[str]:
            heard = []
            await session.message_count
            watch = session.watch(timeout=5)
            step = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0.3)
            begun.set()
            heard.append((await step).text)
            async for message in watch:
                heard.append(message.text)
                if message.text == "end":
                    break
            await watch.aclose()  # type: ignore[attr-defined]
            return heard

        async def both() -> list[str]:
            async with AsyncSession("s", store=here) as speaker, AsyncSession("s", store=there) as watcher:
                begun = asyncio.Event()
                heard = asyncio.ensure_future(listen(watcher, begun))
                await begun.wait()
                await speaker.add_message("user", "one")
                await speaker.add_message("user", "end")
                return await asyncio.wait_for(heard, 5)

        assert asyncio.run(both()) == ["one", "end"]

    @capability("exclusive")
    def test_one_at_a_time_has_the_session(self, open_store: Callable[[], Any]) -> None:
        counts = []

        def work(number: int) -> None:
            session = Session("s", store=open_store().store)
            for _ in range(3):
                with session.exclusive(timeout=30):
                    before = session.message_count
                    session.add_message("user", f"{number}")
                    time.sleep(0.005)
                    counts.append(session.message_count - before)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counts == [1] * 9

    @capability("exclusive")
    def test_others_wait_and_a_stale_holder_cannot_commit(self, open_store: Callable[[], Any]) -> None:
        holder, other = Session("s", store=open_store().store), Session("s", store=open_store().store, timeout=0.1)
        with holder.exclusive(timeout=0.4) as lease:
            holder.add_message("user", "mine")
            with pytest.raises(LockTimeout, match="used exclusively by another"):
                other.add_message("user", "too early")
            with pytest.raises(LockTimeout), other.exclusive(timeout=0.1):
                pass
            first = lease.token
            time.sleep(0.4)
            with other.exclusive(timeout=5) as later:
                assert later.token is not None
                assert first is not None
                assert later.token > first
                other.add_message("user", "theirs")
            with pytest.raises(LeaseLost, match="nothing was committed"):
                holder.add_message("user", "stale")
        other.add_message("user", "free again")
        holder.add_message("user", "as anybody")
        assert [m.text for m in other.messages] == ["mine", "theirs", "free again", "as anybody"]

    @capability("exclusive")
    def test_a_lease_that_ran_out_is_over_even_if_nobody_took_it(self, store: Any) -> None:
        session = Session("s", store=store.store)
        asyncio.run(_renewed(store))
        with session.exclusive(timeout=5, lease=0.1):
            time.sleep(0.15)
            with pytest.raises(LeaseLost, match="nothing was committed"):
                session.add_message("user", "late")
        assert session.message_count == 0


async def _renewed(store: Any) -> None:
    async with AsyncSession("r", store=store.store) as session, session.exclusive(timeout=1, lease=0.8) as lease:
        for _ in range(3):
            await asyncio.sleep(0.3)
            await lease.renew()
        await session.add_message("user", "renewed")
