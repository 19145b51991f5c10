"""What is particular to the MongoDB store: what lies where, and what it takes and refuses."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from tests.proxy import Proxy
from tests.servers import wait_until

from sessile import MongoSessionStore, Session
from sessile.errors import Conflict, CorruptStore, InvalidInput, Missing
from sessile.store.opening import open_store
from sessile.testing.fixtures import Driven, born, commit, say


def test_a_full_tail_becomes_a_bucket(url: str, database: Any) -> None:
    with Session("s", store=url) as one, Session("s", store=open_store(url)) as other:
        for number in range(300):
            (one, other)[number // 20 % 2].add_message("user", f"{number}")
        one.add_messages([("user", "x" * 1000)] * 400)
        one.add_message("user", "last")
        expected = [*map(str, range(300)), *["x" * 1000] * 400, "last"]
        for session in (one, other):
            assert [message.text for message in session.messages] == expected
            assert session.verify()
        assert [message.text for message in one.get_history(60)] == expected[-60:]
        tail = database["sessions"].find_one({"_id": "s"})["tail"]
        assert len(tail["entries"]) <= 128
        buckets = [*database["sessions_buckets"].find().sort("start")]
        assert len(buckets) > 3
        assert buckets[0]["start"] == 0
        assert max(bucket["stop"] for bucket in buckets) == tail["start"]
        one.delete()
    assert database["sessions"].count_documents({}) == database["sessions_buckets"].count_documents({}) == 0


def test_what_is_too_large_for_a_document_is_refused(url: str) -> None:
    with Session("s", store=url) as session:
        session.add_message("user", "a")
        with pytest.raises(InvalidInput, match="at most 16 MB in one commit"):
            session.add_messages([("user", "x" * 9_000_000)] * 2)
        session.add_message("user", "b" * 9_000_000)
        session.add_message("user", "c" * 9_000_000)
        assert [len(message.text) for message in session.messages] == [1, 9_000_000, 9_000_000]


@pytest.mark.parametrize("face", ["blocking", "async"])
@pytest.mark.parametrize("odd", ["\ud800", "a\x00b", "$a", "a.b", "kept.$"])
def test_ids_that_are_odd_in_bson(url: str, odd: str, face: str) -> None:
    store = open_store(url)
    driven = Driven(store if face == "blocking" else store.asynchronous)
    log = f"{odd.replace('.', '')}.{odd}"
    calls: list[tuple[Callable[..., Any], tuple[Any, ...], type[Exception] | None]] = [
        (driven.load, (odd,), None),
        (driven.load_last, (odd, 3), None),
        (driven.wait, (odd, 7, 5.0), None),
        (driven.read, (log, 0, 1), Missing),
        (driven.prune, (log, 0), None),
        (driven.touch, (log, None), None),
        (lambda: driven.delete(odd, expected=1), (), Conflict),
        (lambda: commit(driven, born(odd).after({"log": log}), say("x"), say("y")), (), None),
        (lambda: driven.delete(odd, expected=driven.load(odd).version), (), None),
        (driven.prune, (log, 1), None),
        (driven.touch, (log, None), None),
        (driven.read, (log, 0, 1), None),
        (driven.prune, (log, 0), None),
        (driven.read, (log, 0, 1), Missing),
    ]
    for call, arguments, error in calls:
        if odd == "\ud800":
            with pytest.raises(InvalidInput, match=r"cannot hold .*surrogate"):
                call(*arguments)
        elif error is not None:
            with pytest.raises(error):
                call(*arguments)
        else:
            call(*arguments)
    driven.close()


def test_a_header_that_cannot_be_read_is_deleted_and_its_log_is_not(url: str, database: Any) -> None:
    store = open_store(url)
    header = commit(store, born("s"), say("a"))
    database["sessions"].update_one({"_id": "s"}, {"$unset": {"until": "", "details": ""}})
    with pytest.raises(CorruptStore, match="document of session 's' is broken") as caught:
        store.load("s")
    assert caught.value.user_id == header.user_id
    store.delete("s", expected=None)
    assert store.load("s") is None
    assert [entry.body["content"] for entry in store.read(header.log, 0, 1)] == ["a"]
    with pytest.raises(Conflict):
        store.delete("s", expected=None)
    store.close()


def test_an_older_collection_learns_to_expire(url: str, database: Any) -> None:
    Session("s", store=url).add_message("user", "a")
    assert "expires_at_1" not in database["sessions"].index_information()
    Session("s", store=f"{url}?ttl=86400").add_message("user", "b")
    for name in ("sessions", "sessions_buckets"):
        assert database[name].index_information()["expires_at_1"]["expireAfterSeconds"] == 0


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
