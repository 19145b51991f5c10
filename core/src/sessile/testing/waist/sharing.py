"""A session on two devices: watching what the other says, and exclusive use."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from functools import partial
from queue import Queue
from typing import Any

import pytest

from sessile.errors import LeaseLost, LockTimeout
from sessile.session import AsyncSession, Session
from sessile.testing.fixtures import StoreFixtures, capability
from sessile.testing.limits import at_once

_LEASE = 0.8  # seconds: no renewal on a slow machine takes as long


class SharingTests(StoreFixtures):
    """See the module's text."""

    @capability("watch")
    def test_another_device_sees_what_is_said_within_a_second(self, open_store: Callable[[], Any]) -> None:
        here, there = open_store(), open_store()
        speaker = Session("s", store=here)
        speaker.add_message("user", "before")
        heard: Queue[str] = Queue()
        watcher = Session("s", store=there)
        messages = watcher.watch(timeout=5)

        def listen() -> None:
            for message in messages:
                heard.put(message.text)
                if message.text == "end":
                    return

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        for text in ("one", "two", "end"):
            speaker.add_message("user", text)
            assert heard.get(timeout=1) == text
        thread.join()
        assert list(watcher.watch(timeout=0.1)) == []

    @capability("watch")
    def test_watching_with_async_for(self, open_store: Callable[[], Any]) -> None:
        here, there = open_store(), open_store()

        async def both() -> list[str]:
            async with AsyncSession("s", store=here) as speaker, AsyncSession("s", store=there) as watcher:
                watch = watcher.watch(timeout=5)
                await speaker.add_message("user", "one")
                heard = [(await anext(watch)).text]
                coming = asyncio.ensure_future(anext(watch))
                await speaker.add_message("user", "two")
                heard.append((await coming).text)
                await watch.aclose()  # type: ignore[attr-defined]
                return heard

        assert asyncio.run(both()) == ["one", "two"]

    @capability("exclusive")
    def test_one_at_a_time_has_the_session(self, open_store: Callable[[], Any]) -> None:
        counts = []

        def work(number: int) -> None:
            session = Session("s", store=open_store())
            for _ in range(3):
                with session.exclusive(timeout=30):
                    before = session.message_count
                    session.add_message("user", f"{number}")
                    time.sleep(0.005)
                    counts.append(session.message_count - before)

        at_once(*(partial(work, number) for number in range(3)))
        assert counts == [1] * 9

    @capability("exclusive")
    def test_others_wait_and_a_stale_holder_cannot_commit(self, open_store: Callable[[], Any]) -> None:
        holder, other = Session("s", store=open_store()), Session("s", store=open_store(), timeout=0.05)
        with holder.exclusive(timeout=60):
            holder.add_message("user", "mine")
            with pytest.raises(LockTimeout, match="used exclusively by another"):
                other.add_message("user", "too early")
            with pytest.raises(LockTimeout), other.exclusive(timeout=0.05):
                pass
        with holder.exclusive(timeout=60, lease=0.1) as lease:
            first = lease.token
            with other.exclusive(timeout=60) as later:
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
        with session.exclusive(timeout=5, lease=0.05):
            time.sleep(0.1)
            with pytest.raises(LeaseLost, match="nothing was committed"):
                session.add_message("user", "late")
        assert session.message_count == 0


async def _renewed(store: Any) -> None:
    async with AsyncSession("r", store=store.store) as session, session.exclusive(timeout=1, lease=_LEASE) as lease:
        over = time.monotonic() + _LEASE
        while time.monotonic() < over:
            await lease.renew()
            await asyncio.sleep(0.02)
        await session.add_message("user", "renewed")
