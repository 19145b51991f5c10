"""Many who watch: they take no connection of the pool, all hear, and all end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.proxy import Proxy

from sessile import AsyncSession, Session
from sessile.store.opening import open_store

WATCHERS = 60


@pytest.fixture(params=["with change streams", "without"])
def proxy(request: pytest.FixtureRequest, url: str) -> Iterator[Proxy]:
    """The way to the server; without change streams, it answers like a standalone one, which refuses them."""
    reword = (b"", b"") if request.param == "with change streams" else (b"$changeStream", b"$changeSpring")
    with closing(Proxy(url, reword=reword)) as proxy:
        yield proxy


def test_all_hear_and_all_end(proxy: Proxy) -> None:
    store = open_store(proxy.url_with("pool_size=4"))
    sessions = [Session(f"s{number % 3}", store=store) for number in range(WATCHERS)]
    for session in sessions[:3]:
        session.add_message("user", "before")
    assert [session.message_count for session in sessions] == [1] * WATCHERS  # each hears what it has not read
    heard: list[str] = []
    hear = heard.append

    def listen(messages: Iterator[Any]) -> None:
        for message in messages:
            hear(message.text)

    threads = [threading.Thread(target=listen, args=(session.watch(),)) for session in sessions]
    for thread in threads:
        thread.start()
    for number in range(3):
        with Session(f"s{number}", store=store) as speaker:
            speaker.add_message("user", f"to {number}")
    give_up = time.monotonic() + 10
    while len(heard) < WATCHERS and time.monotonic() < give_up:
        time.sleep(0.01)
    assert sorted(heard) == sorted(f"to {number % 3}" for number in range(WATCHERS))
    assert proxy.connections <= 4 + 2 + 2 * 2  # the pool, the feed, and what either driver makes to look after the server
    for session in sessions:
        session.close()
    for thread in threads:
        thread.join(5)
        assert not thread.is_alive()
    store.close()


def test_all_hear_and_all_end_awaited(proxy: Proxy) -> None:
    async def listen(session: AsyncSession, hear: Callable[[str], None]) -> None:
        async for message in session.watch():
            hear(message.text)

    async def all_listen() -> None:
        store = open_store(proxy.url_with("pool_size=4"))
        heard: list[str] = []
        sessions = [AsyncSession("s", store=store) for _ in range(WATCHERS)]
        tasks = [asyncio.ensure_future(listen(session, heard.append)) for session in sessions]
        async with AsyncSession("s", store=store) as speaker:
            while len(heard) < WATCHERS:  # who begins later hears only what is said later
                await speaker.add_message("user", "hello")
                await asyncio.sleep(0.05)
        for session in sessions:
            await session.close()
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        store.close()

    asyncio.run(all_listen())


def test_who_watches_goes_on_when_connections_get_lost(proxy: Proxy, url: str) -> None:
    heard: list[str] = []
    with (
        closing(open_store(proxy.url_with("timeout=2"))) as store,
        Session("s", store=url) as speaker,
        Session("s", store=store) as watcher,
    ):
        speaker.add_message("user", "before")
        assert watcher.message_count == 1
        messages = watcher.watch(timeout=20)

        def listen() -> None:
            hear = heard.append
            for message in messages:
                hear(message.text)
                if message.text == "end":
                    return

        thread = threading.Thread(target=listen)
        thread.start()
        for text in ("one", "two", "end"):
            cuts = proxy.cuts
            proxy.cut = 1
            while proxy.cuts < cuts + 3:
                time.sleep(0.01)
            proxy.cut = 0
            speaker.add_message("user", text)
            while text not in heard and thread.is_alive():
                time.sleep(0.01)
        thread.join()
    assert heard == ["one", "two", "end"]
