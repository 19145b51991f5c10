"""What is particular to the Redis store: keys that a cluster takes, indexes that mend themselves, expiry."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
import redis

from sessile import AsyncSession, RedisSessionStore, Session, SessionManager
from sessile.errors import CorruptStore


@pytest.fixture
def url(redis_server: Any) -> str:
    return redis_server.url()


@pytest.fixture
def client(url: str) -> Any:
    with redis.Redis.from_url(url) as client:
        yield client


def ids(url: str, **query: Any) -> set[str]:
    with SessionManager(RedisSessionStore(url)) as manager:
        return {header.session_id for header in manager.each(**query)}


def test_every_script_runs_on_keys_of_one_slot(url: str, client: Any) -> None:
    with client.monitor() as monitor, Session("User/{1}", store=url) as session:
        session.add_message("user", "x")
        session.fork(session_id="b").add_message("user", "y")
        session.delete()
        client.echo("end")
        commands = []
        for command in monitor.listen():
            if "ECHO" in command["command"]:
                break
            commands.append(command["command"].split())
    scripts = [words for words in commands if words[0] == "EVALSHA"]
    assert len(scripts) > 5
    for words in scripts:
        keys = words[3 : 3 + int(words[2])]
        assert len({key[key.index("{") : key.index("}")] for key in keys}) == 1
    many = {"PING", "INFO", "SCRIPT", "EVALSHA", "PUBLISH", "CLIENT", "HELLO", "SELECT", "SMISMEMBER", "SADD", "SCAN"}
    for words in commands:  # the others are of one key, or of a session's two
        assert words[0] in many or len(words) < 3 or words[0] == "UNLINK" or "index" in words[1] or "{" in words[1], words


def test_indexes_that_were_lost_are_made_again(url: str, client: Any) -> None:
    with SessionManager(url) as manager:
        root = manager.create_session("ann", "a")
        root.add_message("user", "x")
        root.fork(session_id="b")
        manager.create_session("bob", "c").add_message("user", "x")
        assert ids(url) == {"a", "b", "c"}
        for lost in (["sessile:index:user_id:ann"], ["sessile:index:all:sessions"], client.keys("sessile:index*")):
            client.delete(*lost)
            assert ids(url, user_id="ann") == {"a", "b"}
            assert ids(url) == {"a", "b", "c"}
            assert {header.session_id for header in root.children()} == {"b"}
        assert ids(url, user_id="nobody") == set()
        assert not client.exists("sessile:index:user_id:nobody")


def test_indexes_that_are_wrong_are_mended(url: str, client: Any) -> None:
    with SessionManager(url) as manager:
        for name in "abc":
            manager.create_session("ann", name).add_message("user", "x")
        client.zadd("sessile:index:user_id:ann", {"never": 5.0, "a": 7.0})
        client.zadd("sessile:index:user_id:ann", {"b": time.time() - 100})
        assert [header.session_id for header in manager.list(user_id="ann", limit=2).items] == ["c", "b"]
        assert [header.session_id for header in manager.each(user_id="ann")] == ["c", "b", "a"]
        client.zadd("sessile:index:user_id:ann", {"a": 9.0})
        store = manager.store
        header = store.load("a")
        store.commit("a", expected=header.version, entries=[], changes={"version": header.version + 1, "updated_at": 8.0})
        client.zadd("sessile:index:user_id:ann", {"a": time.time() - 100})  # its place is after b's now, in the same part
        assert [header.session_id for header in manager.each(user_id="ann")] == ["c", "b", "a"]
        index = client.zrange("sessile:index:user_id:ann", 0, -1)
        assert index == [b"a", b"b", b"c"]


def test_what_is_to_stay_never_expires(url: str, client: Any) -> None:
    def expiring() -> set[bytes]:
        return {key for key in client.keys("sessile:{*") if client.pttl(key) > 0}

    Session("root", store=url).add_message("user", "a")
    short, shorter = RedisSessionStore(url, ttl=100), RedisSessionStore(url, ttl=10)
    Session("root", store=short).fork(session_id="child").fork(session_id="grandchild")
    keys = {f"sessile:{{{name}}}:{part}".encode() for name in ("child", "grandchild") for part in ("header", "log")}
    assert expiring() == keys, "what they were forked from was to stay"
    Session("grandchild", store=shorter).add_message("user", "b")
    assert client.pttl("sessile:{grandchild}:log") <= 10_000 < client.pttl("sessile:{child}:log")
    Session("grandchild", store=url).add_message("user", "c")
    assert expiring() == set(), "a store without ttl has changed it"


def test_prefixes_share_a_database(url: str) -> None:
    for prefix in ("one", "two"):
        with Session("s", store=f"{url}?prefix={prefix}") as session:
            session.add_message("user", prefix)
            assert session.message_count == 1


def test_a_log_that_lost_entries_is_not_written_on(url: str, client: Any) -> None:
    with Session("s", store=url) as session:
        session.add_messages([("user", "a"), ("user", "b")])
        client.rpop("sessile:{s}:log")
        with pytest.raises(CorruptStore, match=r"the log has 1 entries, not 2\. Restore a copy"):
            session.add_message("user", "c")


def test_on_a_cluster(tmp_path: Path) -> None:
    from tests.servers import RedisServer, wait_until

    server = RedisServer(tmp_path / "redis", "--cluster-enabled", "yes", "--databases", "1")
    try:
        with redis.Redis(port=server.port) as client:
            client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
            wait_until(lambda: client.set("ready", 1), "the cluster")
        url = f"redis+cluster://127.0.0.1:{server.port}"
        with Session("s", store=url, user_id="ann") as root, SessionManager(url) as manager:
            root.add_message("user", "a")
            child = root.fork(session_id="child")
            child.add_message("user", "b")
            root.delete()
            assert [message.text for message in child.messages] == ["a", "b"]
            assert [header.session_id for header in manager.each(user_id="ann")] == ["child"]
            assert [message.text for message in asyncio.run(_said_on(url))] == ["x"]
            assert manager.store.check()["maxmemory-policy"] == "noeviction"
            grandchild = Session("child", store=f"{url}?ttl=100").fork(session_id="grandchild")
            grandchild.add_message("user", "c")
            Session("grandchild", store=url).add_message("user", "d")
            with redis.Redis(port=server.port) as client:
                assert {client.pttl(key) for key in client.keys("sessile:{*")} == {-1}
    finally:
        server.stop()


async def _said_on(url: str) -> list[Any]:
    async with AsyncSession("a", store=url) as session:
        await session.add_message("user", "x")
        return await session.messages
