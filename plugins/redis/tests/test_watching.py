"""All that is watched in a store shares one connection, beside the pool."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from tests.proxy import Proxy
from tests.servers import wait_until

from sessile import AsyncSession, Session
from sessile.errors import StoreError
from sessile.store.opening import open_store

_POOL = 4


@pytest.fixture
def proxy(redis_server: Any) -> Iterator[Proxy]:
    with closing(Proxy(redis_server.url())) as proxy:
        yield proxy


def subscribed(proxy: Proxy) -> int:
    """How many channels there are that somebody listens to."""
    with redis.Redis(port=proxy.server.port) as client:
        return len(client.pubsub_channels("sessile:{w*"))


def until_subscribed(proxy: Proxy, count: int) -> None:
    def all_of_them() -> None:
        assert subscribed(proxy) == count

    wait_until(all_of_them, f"{count} subscriptions")


def test_idle_watchers_share_one_connection(proxy: Proxy, pytestconfig: pytest.Config) -> None:
    count = 200 if pytestconfig.getoption("full") else 50
    store = open_store(proxy.url_with(f"pool_size={_POOL}"))
    sessions = [Session(f"w{number}", store=store) for number in range(count)]
    heard: dict[str, list[str]] = {session.session_id: [] for session in sessions}

    def watch(session: Session) -> None:
        heard[session.session_id].extend(message.text for message in session.watch())

    threads = [threading.Thread(target=watch, args=(session,)) for session in sessions]
    for thread in threads:
        thread.start()
    until_subscribed(proxy, count)
    with Session("w0", store=store) as speaker:
        for number in range(20):
            speaker.add_message("user", f"{number}")

    def all_heard() -> None:
        assert heard["w0"] == [str(number) for number in range(20)]

    wait_until(all_heard, "what was said")
    assert proxy.connections <= _POOL + 1
    for session in sessions:
        session.close()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert {name for name, texts in heard.items() if texts} == {"w0"}
    store.close()
    until_subscribed(proxy, 0)


def test_idle_async_watchers_share_one_connection(proxy: Proxy) -> None:
    count = 200
    said = [str(number) for number in range(20)]
    heard: dict[str, list[str]] = {f"w{number}": [] for number in range(count)}

    async def watch(session: AsyncSession) -> None:
        async for message in session.watch():
            heard[session.session_id].append(message.text)

    def all_heard() -> None:
        assert heard["w0"] == said

    async def main() -> None:
        with closing(open_store(proxy.url_with(f"pool_size={_POOL}"))) as store:
            sessions = [AsyncSession(name, store=store) for name in heard]
            watching = [asyncio.ensure_future(watch(session)) for session in sessions]
            await asyncio.to_thread(until_subscribed, proxy, count)
            async with AsyncSession("w0", store=store) as speaker:
                for text in said:
                    await speaker.add_message("user", text)
            await asyncio.to_thread(wait_until, all_heard, "what was said")
            for session in sessions:
                await session.close()
            await asyncio.wait_for(asyncio.gather(*watching), 20)
            assert proxy.connections <= _POOL + 1

    asyncio.run(main())
    assert {name for name, texts in heard.items() if texts} == {"w0"}
    until_subscribed(proxy, 0)


def test_a_watcher_hears_on_after_its_connection_was_lost(proxy: Proxy) -> None:
    store = open_store(proxy.url)
    heard: list[str] = []
    session = Session("w0", store=store)
    thread = threading.Thread(target=lambda: heard.extend(message.text for message in session.watch()))
    thread.start()
    with redis.Redis(port=proxy.server.port) as client, Session("w0", store=store) as speaker:
        for number in range(3):
            until_subscribed(proxy, 1)
            client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
            speaker.add_message("user", f"{number}")

            def heard_so_far(count: int = number + 1) -> None:
                assert heard == [str(number) for number in range(count)]

            wait_until(heard_so_far, "what was said")
    session.close()
    thread.join(10)
    assert not thread.is_alive()
    store.close()


@pytest.mark.parametrize("face", ["blocking", "async"])
def test_a_change_is_told_at_once_and_a_cancelled_watcher_harms_no_other(proxy: Proxy, face: str) -> None:
    async def main() -> None:
        with closing(open_store(proxy.url)) as store:
            said = await asyncio.to_thread(_said, store)
            store_wait = store.asynchronous.wait if face == "async" else lambda *args: asyncio.to_thread(store.wait, *args)
            cancelled = asyncio.ensure_future(store.asynchronous.wait("w0", said, 30))
            waiting = asyncio.ensure_future(store_wait("w0", said, 30))
            await asyncio.to_thread(until_subscribed, proxy, 1)
            cancelled.cancel()
            begin = time.monotonic()
            await asyncio.to_thread(_said, store)
            await asyncio.wait_for(waiting, 10)
            await asyncio.wait_for(store_wait("w0", said, 30), 10)
            assert time.monotonic() - begin < 5

    asyncio.run(main())


def _said(store: Any) -> int:
    with Session("w0", store=store) as session:
        session.add_message("user", "x")
    return int(store.load("w0").version)


def test_a_user_who_may_not_listen_is_told(redis_server: Any) -> None:
    url = redis_server.url()
    with redis.Redis.from_url(url) as client:
        client.execute_command("ACL", "SETUSER", "deaf", "on", ">word", "allchannels", "allkeys", "+@all", "-subscribe")
        with closing(open_store(url.replace("://", "://deaf:word@"))) as store:
            version = _said(store)
            with pytest.raises(StoreError, match=r"forbids this user.*subscribe.*&sessile:"):
                store.wait("w0", version, 5)
            _said(store)
        client.execute_command("ACL", "DELUSER", "deaf")
