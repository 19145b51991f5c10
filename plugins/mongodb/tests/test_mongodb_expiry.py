"""Deadlines: nothing that is needed goes before its time, and what is past it is none, though the server is late to remove it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import OperationFailure
from tests.servers import wait_until

from sessile.errors import Conflict
from sessile.log.header import Header
from sessile.log.ids import owner_of
from sessile.store.opening import open_store
from sessile.store.waist import Query
from sessile.testing.fixtures import Driven, born, commit, say

DAY = 86400.0


@pytest.fixture(params=["blocking", "async"])
def opened(request: pytest.FixtureRequest, url: str) -> Iterator[Callable[..., Any]]:
    """A function that opens the store on the same data, with a ttl."""
    stores = []

    def open_again(ttl: float | None = None) -> Driven:
        stores.append(open_store(url if ttl is None else f"{url}?ttl={ttl}"))
        return Driven(stores[-1] if request.param == "blocking" else stores[-1].asynchronous)

    yield open_again
    for store in stores:
        store.close()


def pass_time(database: Any, session_id: str) -> None:
    """Let the deadline of a session's header be over."""
    database["sessions"].update_one({"_id": session_id}, {"$set": {"until": 1}})


def lifetimes(database: Any, session_id: str) -> tuple[float, float]:
    """In how many days a session's header and its log go, where the document and the buckets live that long."""
    document = database["sessions"].find_one({"_id": session_id})
    header, tail = document, document["tail"]
    parts = [tail, *document.get("kept", [])]
    assert _milliseconds(document["expires_at"]) >= max(header["until"], *(part["until"] for part in parts))
    for part in parts:
        for bucket in database["sessions_buckets"].find({"log": part["log"], "stop": {"$lte": part["start"]}}):
            assert _milliseconds(bucket["expires_at"]) >= part["until"]
    now = time.time() * 1000
    return (header["until"] - now) / 1000 / DAY, (tail["until"] - now) / 1000 / DAY


def _milliseconds(moment: Any) -> float:
    return float((moment - type(moment)(1970, 1, 1)).total_seconds() * 1000)


def fill(store: Any, header: Header, count: int = 200) -> Header:
    """Commit so many messages, more than a tail has, fifty at a time."""
    for first in range(0, count, 50):
        header = commit(store, header, *(say(str(number)) for number in range(first, first + 50)))
    return header


def test_deadlines_become_later_and_never_shorter(opened: Callable[..., Any], database: Any) -> None:
    days, weeks, stays = opened(DAY), opened(7 * DAY), opened()
    header = fill(days, born("s"))
    until, log = lifetimes(database, "s")
    assert 0.9 < until <= 1
    assert 1.1 <= log < 1.4
    header = fill(weeks, header, 100)
    until, log = lifetimes(database, "s")
    assert 6.9 < until <= 7
    assert 7.7 <= log < 9.2
    header = fill(days, header, 100)
    assert lifetimes(database, "s") == pytest.approx((until, log), abs=0.1)
    header = fill(stays, header, 100)
    assert min(lifetimes(database, "s")) > 1e6
    fill(days, header, 100)
    assert min(lifetimes(database, "s")) > 1e6
    fill(days, born("~app"))
    assert min(lifetimes(database, "~app")) > 1e6


def test_a_log_that_is_touched_lives_longer_than_its_header(opened: Callable[..., Any], database: Any) -> None:
    store = opened(DAY)
    header = fill(store, born("s"))
    for days in (30, 3):  # later, never shorter
        store.touch(header.log, time.time() + days * DAY)
        until, log = lifetimes(database, "s")
        assert until <= 1
        assert 29.9 < log < 30.1
    header = fill(store, header)  # new buckets, too
    assert 29.9 < lifetimes(database, "s")[1] < 30.1
    store.touch(header.log, None)
    until, log = lifetimes(database, "s")
    assert until <= 1
    assert log > 1e6
    store.delete("s", expected=header.version)
    fill(store, born("s"))
    lifetimes(database, "s")
    store.touch(header.log, time.time())  # among the kept ones
    lifetimes(database, "s")
    store.prune(header.log, 0)
    assert _milliseconds(database["sessions"].find_one({"_id": "s"})["expires_at"]) < (time.time() + 2 * DAY) * 1000
    store.touch(header.log, None)
    store.touch("log.nobody", None)
    assert database["sessions"].count_documents({}) == 1


@pytest.mark.parametrize("ttl", [DAY, None])
def test_an_expired_header_that_is_still_there_is_none(opened: Callable[..., Any], database: Any, ttl: float | None) -> None:
    store, other = opened(DAY), opened(ttl)
    header = fill(store, born("s", user_id="ann"))
    assert other.load("s") == header
    pass_time(database, "s")
    for one in (store, other, opened(ttl)):
        assert one.load("s") is None
        assert one.load_last("s", 1) == (None, [])
        assert not one.find(Query(user_id="ann")).items
        with pytest.raises(Conflict) as caught:
            commit(one, header, say("late"))
        assert caught.value.header is None
        with pytest.raises(Conflict) as caught:
            one.delete("s", expected=header.version)
        assert caught.value.header is None
        assert len(one.read(header.log, 0, 200)) == 200
    new = fill(other, born("s", user_id="bob"))
    for one in (store, other, opened(ttl)):
        assert one.load("s") == new
        assert one.read(header.log, 199, 200)[0].body["content"] == "199"
        assert len(one.read(new.log, 0, 200)) == 200
    lifetimes(database, "s")


def test_sessions_that_expire_under_one_id_again_and_again_leave_nothing(opened: Callable[..., Any], database: Any) -> None:
    store = opened(DAY)
    inherited = commit(store, born("s"), say("x"))
    store.touch(inherited.log, None)
    for _ in range(4):
        pass_time(database, "s")
        commit(store, born("s"), say("x"))
        database["sessions"].update_one({"_id": "s"}, {"$set": {"tail.until": 1}})
    assert [part["log"] for part in database["sessions"].find_one({"_id": "s"})["kept"]] == [inherited.log]


def test_the_server_removes_what_expires(url: str, database: Any) -> None:
    with closing(open_store(f"{url}?ttl={DAY}")) as store:
        for name in ("gone", "stays"):
            fill(store, born(name))
        ago = datetime(2000, 1, 1, tzinfo=UTC)
        database["sessions"].update_one({"_id": "gone"}, {"$set": {"until": 1, "tail.until": 1, "expires_at": ago}})
        database["sessions_buckets"].update_many({"log": {"$regex": r"\.gone$"}}, {"$set": {"expires_at": ago}})
        with suppress(OperationFailure):  # secantusdb's way to do at once what happens once a minute
            database.client.admin.command("secantusAdmin.pruneTtl")
        wait_until(lambda: _only(database, "stays"), "what expires", seconds=90)
        assert len(store.logs()) == 1


def _only(database: Any, name: str) -> None:
    assert {document["_id"] for document in database["sessions"].find()} == {name}
    assert {owner_of(bucket["log"]) for bucket in database["sessions_buckets"].find()} == {name}
