"""What is particular to the MongoDB store: tails that become buckets, expiry, lost buckets."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pymongo import MongoClient
from tests.proxy import Proxy
from tests.servers import wait_until

from sessile import MongoSessionStore, Session, SessionManager
from sessile.errors import InvalidInput


@pytest.fixture
def url(mongodb_server: Any) -> str:
    return mongodb_server.url()


@pytest.fixture
def database(url: str) -> Any:
    with MongoClient(url) as client:
        yield client.get_default_database()


def test_a_full_tail_becomes_a_bucket(url: str, database: Any) -> None:
    with Session("s", store=url) as one, Session("s", store=MongoSessionStore(url)) as other:
        for number in range(300):
            (one, other)[number // 20 % 2].add_message("user", f"{number}")
        one.add_messages([("user", "x" * 1000)] * 400)
        one.add_message("user", "last")
        expected = [*map(str, range(300)), *["x" * 1000] * 400, "last"]
        for session in (one, other):
            assert [message.text for message in session.messages] == expected
            assert session.verify()
        assert [message.text for message in one.get_history(60)] == expected[-60:]
        document = database["sessions"].find_one({"_id": "s"})
        assert len(document["tail"]) <= 128
        buckets = [*database["sessions_buckets"].find().sort("start")]
        assert len(buckets) > 3
        assert buckets[0]["start"] == 0
        assert max(bucket["stop"] for bucket in buckets) == document["tail_start"]
        one.delete()
    assert database["sessions_buckets"].count_documents({}) == 0


def test_what_is_too_large_for_a_document_is_refused(url: str) -> None:
    with Session("s", store=url) as session:
        session.add_message("user", "a")
        with pytest.raises(InvalidInput, match="at most 16 MB in one commit"):
            session.add_messages([("user", "x" * 9_000_000)] * 2)
        session.add_message("user", "b" * 9_000_000)
        session.add_message("user", "c" * 9_000_000)
        assert [len(message.text) for message in session.messages] == [1, 9_000_000, 9_000_000]


def test_what_is_to_stay_never_expires(url: str, database: Any) -> None:
    def expiring() -> set[str]:
        where = {"expires_at": {"$exists": True}}
        return {document["_id"] for document in database["sessions"].find(where)} | {
            bucket["session"] for bucket in database["sessions_buckets"].find(where)
        }

    with Session("root", store=url) as root:
        for _ in range(3):
            root.add_messages([("user", "a")] * 100)
    store = MongoSessionStore(url, ttl=86400)
    child = Session("root", store=store).fork(session_id="child")
    for _ in range(3):
        child.add_messages([("user", "b")] * 100)
    child.fork(session_id="grandchild").add_message("user", "c")
    assert expiring() == {"child", "grandchild"}, "what they were forked from was to stay"
    Session("grandchild", store=url).add_message("user", "d")
    assert expiring() == set(), "a store without ttl has changed it"
    assert Session("grandchild", store=url).message_count == 602
    store.close()


def test_an_older_collection_learns_to_expire(url: str, database: Any) -> None:
    Session("s", store=url).add_message("user", "a")
    assert "expires_at_1" not in database["sessions"].index_information()
    Session("s", store=f"{url}?ttl=86400").add_message("user", "b")
    for name in ("sessions", "sessions_buckets"):
        assert database[name].index_information()["expires_at_1"]["expireAfterSeconds"] == 0


def test_buckets_of_a_delete_that_was_cut_short_are_found(url: str, database: Any) -> None:
    with SessionManager(url) as manager:
        session = manager.create_session(session_id="s")
        for number in range(150):
            session.add_message("user", f"{number}")
        database["sessions"].delete_one({"_id": "s"})
        assert manager.store.check()["index"] == "1 logs of deleted sessions left"
        assert manager.store.check(repair=True)["index"] == "1 logs of deleted sessions removed"
        assert database["sessions_buckets"].count_documents({}) == 0


def test_closing_does_not_wait_for_a_server_that_is_gone(url: str) -> None:
    proxy = Proxy(url)
    store = MongoSessionStore(proxy.url)
    client = store.engine(False).client
    Session("s", store=store).add_message("user", "x")
    proxy.close()
    wait_until(lambda: _knows_no_server(client), "the driver's knowledge that its server is gone")
    begin = time.monotonic()
    store.close()
    assert time.monotonic() - begin < 5, "it waited for a server to be found, which takes 10 s"


def _knows_no_server(client: Any) -> None:
    assert not client.topology_description.has_readable_server()
