"""What is particular to the Redis store: keys that a cluster takes, expiry, logs that were lost, users who may do little."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from sessile import AsyncSession, RedisSessionStore, Session, SessionManager
from sessile.errors import Conflict, CorruptStore, InvalidInput, Missing, StoreError
from sessile.store.opening import open_store
from sessile.store.waist import Query
from sessile.testing.fixtures import born, commit, say


@pytest.fixture
def server_url(redis_server: Any) -> str:
    return str(redis_server.url())


@pytest.fixture
def raw(server_url: str) -> Any:
    with redis.Redis.from_url(server_url) as client:
        yield client


def key_of(client: Any, session_id: str, part: str) -> bytes:
    (key,) = [key for key in client.keys("sessile:{*") if f"{{{session_id}}}:{part}".encode() in key]
    return bytes(key)


# -- keys


def test_a_session_is_a_header_and_a_log_of_one_slot(server_url: str, raw: Any) -> None:
    with Session("User/{1}", store=server_url) as session:
        session.add_message("user", "x")
    header, log = sorted(raw.keys("sessile:{*"))
    assert header == b"sessile:{User/%7B1%7D}:header"
    assert log.startswith(b"sessile:{User/%7B1%7D}:log:")
    assert open_store(server_url).logs() == [f"{log.decode().rpartition(':')[2]}.User/{{1}}"]


def test_sessions_on_a_cluster(cluster_url: str) -> None:
    """A cluster refuses a script whose keys are of two slots."""
    with Session("s", store=cluster_url, user_id="ann") as root, SessionManager(cluster_url) as manager:
        root.add_message("user", "a")
        child = root.fork(session_id="child")
        child.add_message("user", "b")
        root.delete()
        assert [message.text for message in child.messages] == ["a", "b"]
        assert [header.session_id for header in manager.each(user_id="ann")] == ["child"]
        assert [message.text for message in asyncio.run(_said_on(cluster_url))] == ["x"]
        assert manager.store.check()["maxmemory-policy"] == "noeviction"
        assert {header.session_id for header in manager.each()} == {"child", "a"}


async def _said_on(url: str) -> list[Any]:
    async with AsyncSession("a", store=url) as session:
        await session.add_message("user", "x")
        return await session.messages


def test_prefixes_share_a_database(server_url: str) -> None:
    for prefix in ("one", "one:index", "two"):
        with (
            Session("s", store=f"{server_url}?prefix={prefix}", user_id=prefix) as session,
            SessionManager(session.store) as all_,
        ):
            session.add_message("user", prefix)
            assert session.message_count == 1
            assert [header.user_id for header in all_.each()] == [prefix]


def test_what_no_store_can_have(server_url: str) -> None:
    for prefix in ("", "a{b", "a\x00", "a\ud800", "a*", None, 5):
        with pytest.raises(InvalidInput, match="prefix"):
            RedisSessionStore(server_url, prefix=prefix)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["\ud800", "\x00", "a\udfffb", "\n"])
def test_text_that_no_id_has(server_url: str, text: str) -> None:
    with SessionManager(server_url) as manager:
        manager.create_session("ann", session_id="s")
        for name in ("user_id", "prefix", "parent", "root"):
            with pytest.raises(InvalidInput, match=name.replace("_", ".")):
                manager.list(**{name: text})
        for name in ("user_id", "prefix", "parent", "root"):
            assert not manager.list(**{name: "{*}?[a]\\ é"}).items


def test_a_process_that_remembers_another_session_of_the_id(server_url: str) -> None:
    with closing(open_store(server_url)) as store, closing(open_store(server_url)) as other:
        old = commit(store, born("s", user_id="ann"), say("a"), say("b"))
        store.delete("s", expected=old.version)
        new = commit(other, born("s", user_id="bob"), say("c"))
        commit(store, new, say("d"))
        assert [entry.body["content"] for entry in other.read(new.log, 0, 2)] == ["c", "d"]
        assert [entry.body["content"] for entry in other.read(old.log, 0, 2)] == ["a", "b"]
        assert [header.session_id for header in other.find(Query(user_id="bob"))] == ["s"]


# -- expiry


def test_what_is_to_stay_never_expires(url: str, client: Any) -> None:
    prefix = url.partition("?prefix=")[2] or "sessile"

    def expiring() -> set[str]:
        return {key.decode() for key in client.keys(f"{prefix}:{{*") if client.pttl(key) > 0}

    def ids(keys: set[str]) -> set[str]:
        return {key.partition("{")[2].partition("}")[0] for key in keys}

    with_ttl = f"{url}{'&' if '?' in url else '?'}ttl="
    with closing(open_store(url)) as lasting, closing(open_store(f"{with_ttl}100")) as short:
        Session("root", store=lasting).add_message("user", "a")
        child = Session("root", store=short).fork(session_id="child")
        child.add_message("user", "b")
        grandchild = child.fork(session_id="grandchild")
        assert ids(expiring()) == {"child", "grandchild"}, "what they were forked from was to stay, and so are records"
        for key in expiring():
            assert 90 < client.ttl(key) <= (100 if key.endswith(":header") else 110)
        with closing(open_store(f"{with_ttl}10")) as shorter:
            Session("grandchild", store=shorter).add_message("user", "b")
        assert all(client.ttl(key) > 90 for key in expiring()), "nothing is made shorter"
        Session("grandchild", store=lasting).add_message("user", "c")
        assert ids(expiring()) == {"child"}, "a store without ttl has changed the other"
        assert {key.rpartition("}:")[2] for key in expiring()} == {"header"}, "what it inherits stays, too"
        child.add_message("user", "d")
        assert {key.rpartition("}:")[2] for key in expiring()} == {"header"}
        assert [message.text for message in grandchild.messages] == ["a", "b", "b", "c"]


def test_a_log_is_touched(url: str, client: Any) -> None:
    with closing(open_store(f"{url}{'&' if '?' in url else '?'}ttl=100")) as store:
        log = commit(store, born("s"), say("x")).log
        (key,) = [key for key in client.keys("*{s}:log:*") if key.endswith(log.partition(".")[0].encode())]
        for until, least in ((time.time() + 500, 490), (time.time() + 50, 490), (0, 490), (None, -1), (time.time() + 5, -1)):
            store.touch(log, until)
            assert least <= client.ttl(key) <= max(least + 20, -1) and (client.ttl(key) == -1) == (least == -1)  # noqa: PT018
        store.touch("log.nobody", time.time() + 5)
        store.touch("log.nobody", None)


# -- what was lost or is broken


def test_a_log_that_lost_entries_is_neither_read_nor_written_on(server_url: str, raw: Any) -> None:
    with Session("s", store=server_url) as session:
        session.add_messages([("user", "a"), ("user", "b")])
        raw.rpop(key_of(raw, "s", "log"))
        with pytest.raises(CorruptStore, match=r"the log has 1 entries, not 2\. Restore a copy"):
            session.add_message("user", "c")
        with Session("s", store=server_url) as again, pytest.raises((Missing, CorruptStore)):
            print(again.messages)


def test_a_log_that_was_evicted_is_not_an_empty_one(server_url: str, raw: Any) -> None:
    with Session("s", store=server_url) as session:
        session.add_messages([("user", "a"), ("user", "b")])
        raw.delete(key_of(raw, "s", "log"))
    with closing(open_store(server_url)) as store:
        for _ in range(2):  # the second time it is known where it lies
            with pytest.raises(Missing):
                store.load_last("s", 50)
    with Session("s", store=server_url) as session:
        with pytest.raises((Missing, CorruptStore)):
            print(session.messages)
        with pytest.raises((Missing, CorruptStore)):
            session.get_history(1)
        with pytest.raises(CorruptStore):
            session.add_message("user", "c")


@pytest.mark.parametrize("broken", ["text", "no version", "no json", "other type"])
def test_a_header_that_cannot_be_read(server_url: str, raw: Any, broken: str) -> None:
    with closing(open_store(server_url)) as store:
        header = commit(store, born("s"), say("x"))
        key = key_of(raw, "s", "header")
        if broken == "text":
            raw.set(key, "text")
        elif broken == "no version":
            raw.hdel(key, "version", "session_id")
        elif broken == "no json":
            raw.hset(key, "state", "{")
        else:
            raw.hset(key, "title", "5")
        with pytest.raises(CorruptStore) as caught:
            store.load("s")
        assert caught.value.user_id == (None if broken == "text" else header.user_id)
        for expected in (0, 5):
            with pytest.raises(CorruptStore):
                commit(store, born("s", version=expected), say("y"))
        if broken != "other type":
            with pytest.raises((CorruptStore, Conflict)):
                store.delete("s", expected=5)
        store.delete("s", expected=None)
        assert store.load("s") is None
        assert store.find(Query()).items == []
        with pytest.raises(Conflict) as caught:
            store.delete("s", expected=None)
        assert caught.value.header is None
        assert store.logs() == [header.log]


def test_keys_that_are_somebody_elses(server_url: str, raw: Any) -> None:
    raw.set("sessile:index:{sessile}:all", "mine")
    with closing(open_store(server_url)) as store:
        with pytest.raises(CorruptStore, match=r"is not sessile's.*Pass another prefix"):
            commit(store, born("s"), say("x"))
        assert store.load("s") is None
        assert store.logs() == []


# -- users


@pytest.fixture
def user(server_url: str, raw: Any) -> Any:
    """A function that makes a user with some rules, and returns a URL."""
    made: list[str] = []

    def make(*rules: str) -> str:
        made.append(f"user{len(made)}")
        raw.execute_command("ACL", "SETUSER", made[-1], "on", ">word", "resetchannels", *rules)
        return server_url.replace("://", f"://{made[-1]}:word@")

    yield make
    for name in made:
        raw.execute_command("ACL", "DELUSER", name)


KEYS, CHANNELS = "~sessile:*", "&sessile:*"


@pytest.mark.parametrize("commands", [("+@all", "-@dangerous"), ("+@all", "-info", "-hello", "-config"), ("+@all",)])
def test_a_user_who_may_do_little(user: Callable[..., str], commands: tuple[str, ...]) -> None:
    url = user(KEYS, CHANNELS, *commands)
    with Session("s", store=url, user_id="ann") as session, SessionManager(url) as manager:
        session.add_message("user", "x")
        child = session.fork()
        assert {header.session_id for header in manager.each(user_id="ann")} == {"s", child.session_id}
        manager.store.wait("s", 1, 0.1)
        found = manager.store.check(repair=True)
        assert "made again from" in found["index"]
        assert found["server"].startswith("Redis 6.2")
        assert ("may not ask" in found["durability"]) == (len(commands) > 1)
        session.delete()


@pytest.mark.parametrize(
    ("rules", "what"),
    [
        (("~sessile:{*", CHANNELS, "+@all"), "key"),
        (("~sessile:index:*", CHANNELS, "+@all"), "key"),
        ((KEYS, "+@all"), "channel"),
        ((KEYS, "&other", "+@all"), "channel"),
        ((KEYS, CHANNELS, "+@all", "-hset"), "command"),
        ((KEYS, CHANNELS, "+@all", "-zadd"), "command"),
        ((KEYS, CHANNELS, "+@all", "-evalsha"), "command"),
    ],
)
def test_what_a_user_may_not_do_is_named_and_nothing_is_stored(
    user: Callable[..., str], server_url: str, raw: Any, rules: tuple[str, ...], what: str
) -> None:
    Session("before", store=server_url, user_id="ann").add_message("user", "x")
    url = user(*rules)
    for session_id in ("before", "new"):
        with pytest.raises(StoreError, match=rf"forbids this user a .*{what}.*~sessile:.*&sessile:.*@all -@dangerous") as caught:
            Session(session_id, store=url, user_id="ann").add_message("user", "y")
        assert "word@" not in str(caught.value)
    with SessionManager(server_url) as manager:
        assert [header.session_id for header in manager.each()] == ["before"]
        assert manager.get_session("before").message_count == 1
        assert len(manager.store.logs()) == 1
    with closing(open_store(server_url)) as store:
        assert len(store.read(store.logs()[0], 0, 1)) == 1
        with pytest.raises(Missing):
            store.read(store.logs()[0], 0, 2)


def test_a_cluster_that_forbids_an_index_stores_nothing(cluster_server: Any, cluster_url: str) -> None:
    prefix = cluster_url.partition("?prefix=")[2]
    with redis.Redis(port=cluster_server.port) as client:
        client.execute_command("ACL", "SETUSER", "some", "on", ">word", "+@all", "allchannels", f"~{prefix}:{{*")
    with closing(open_store(cluster_url.replace("://", "://some:word@"))) as store:
        with pytest.raises(StoreError, match="key"):
            commit(store, born("s"), say("x"))
        assert store.load("s") is None
        assert store.logs() == []


def test_a_server_without_memory_stores_nothing(tmp_path: Path) -> None:
    from tests.servers import RedisServer

    server = RedisServer(tmp_path / "redis")
    try:
        with closing(open_store(server.url())) as store, redis.Redis.from_url(f"redis://127.0.0.1:{server.port}/1") as client:
            header = commit(store, born("s"), say("x"))
            client.config_set("maxmemory", "1mb")
            with pytest.raises(StoreError, match="OOM"):
                commit(store, header, say("y"))
            with pytest.raises(StoreError, match="OOM"):
                commit(store, born("t"), say("y"))
            assert store.load("s") == header
            assert store.load("t") is None
            client.config_set("maxmemory", "0")
            commit(store, header, say("y"))
            assert [found.session_id for found in store.find(Query())] == ["s"]
    finally:
        server.stop()
