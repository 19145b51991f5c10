"""The connections of the PostgreSQL store: where they go, what a restart does to them, and who listens on them."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import psycopg
import pytest
from tests.proxy import Proxy
from tests.servers import wait_until

from sessile import AsyncSession, PostgresSessionStore, Session, SessionManager
from sessile.errors import StoreUnavailable
from sessile.store.waist import Query
from sessile.testing.fixtures import Driven, born, commit, say

POOL = 4


@pytest.fixture
def url(postgres_server: Any) -> str:
    return postgres_server.url()


@pytest.fixture(params=["blocking", "async"])
def face(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(url: str, face: str) -> Iterator[Driven]:
    """Either face of a store with a small pool."""
    opened = PostgresSessionStore(url, pool_size=POOL, timeout=5)
    yield Driven(opened if face == "blocking" else opened.asynchronous)
    opened.close()


def busy(url: str) -> list[int]:
    """The processes that serve a database, whoever asks left out."""
    with psycopg.connect(url, autocommit=True) as connection:
        sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        return [pid for (pid,) in connection.execute(sql)]


def fill_pool(url: str, store: Driven) -> None:
    """Make all the connections that the pool may."""
    with ThreadPoolExecutor(POOL) as threads:
        with psycopg.connect(url) as connection:
            connection.execute("LOCK TABLE sessions")
            waiting = [threads.submit(store.load, "s") for _ in range(POOL)]
            wait_until(lambda: _are(busy(url), POOL + 1), f"{POOL} connections")
        for one in waiting:
            assert one.result() is not None


def _are(found: list[int], count: int) -> None:
    assert len(found) == count


def end_connections(url: str) -> None:
    """What a restart does to them."""
    found = busy(url)
    with psycopg.connect(url, autocommit=True) as connection:
        for pid in found:
            connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    wait_until(lambda: _have_ended(url, found), "the end of the connections")


def _have_ended(url: str, found: list[int]) -> None:
    assert not {*found} & {*busy(url)}  # a listener may have connected anew by then


# -- a restart


def test_a_restart_is_no_matter_to_who_reads(url: str, store: Driven) -> None:
    header = commit(store, born("s"), say("x"))
    for again in range(2):
        fill_pool(url, store)
        end_connections(url)
        for _ in range(2 * POOL):
            assert store.load("s") == header
            assert len(store.read(header.log, 0, 1)) == 1
            assert len(store.find(Query()).items) == 1
        header = commit(store, header, title=str(again))


def test_a_restart_costs_who_writes_one_retry(url: str, store: Driven) -> None:
    header = commit(store, born("s"), say("x"))
    fill_pool(url, store)
    end_connections(url)
    with pytest.raises(StoreUnavailable, match="does not answer"):
        commit(store, header, say("unknown whether it landed"))
    for _ in range(2 * POOL):
        header = commit(store, header, say("y"))
    assert len(store.read(header.log, 0, header.head)) == 1 + 2 * POOL


def test_many_callers_at_a_restart_meet_one_failure_each(url: str, store: Driven) -> None:
    headers = [commit(store, born(f"s{number}"), say("x")) for number in range(POOL)]
    commit(store, born("s"))
    fill_pool(url, store)
    failed = [0] * POOL
    start = threading.Barrier(POOL)

    def write(number: int) -> None:
        header = headers[number]
        start.wait()
        for _ in range(20):
            try:
                header = commit(store, header, say("y"))
            except StoreUnavailable:
                failed[number] += 1

    end_connections(url)
    with ThreadPoolExecutor(POOL) as threads:
        for done in [threads.submit(write, number) for number in range(POOL)]:
            done.result()
    assert sum(failed) >= 1
    assert max(failed) <= 1


def test_a_manager_deletes_after_a_restart(url: str) -> None:
    with SessionManager(PostgresSessionStore(url, pool_size=POOL)) as manager:
        for number in range(POOL):
            manager.create_session(session_id=f"s{number}")
        manager.create_session(session_id="s")
        for number in range(POOL):
            fill_pool(url, Driven(manager.store))
            end_connections(url)
            assert manager.delete(f"s{number}")
            assert not manager.exists(f"s{number}")
        manager.store.close()


def test_a_primary_that_became_a_standby_is_left(url: str, store: Driven) -> None:
    database = url.rpartition("/")[2]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        with pytest.raises(StoreUnavailable, match="read-only"):
            commit(store, born("s"), say("x"))
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
    assert commit(store, born("s"), say("x")).head == 1


def test_all_connections_are_in_use(url: str, face: str) -> None:
    patient = f"{url}?options=-c+statement_timeout%3D60000"  # the server does not end what the first one waits for
    opened = PostgresSessionStore(patient, pool_size=1, timeout=1)
    store = Driven(opened if face == "blocking" else opened.asynchronous)
    commit(store, born("s"))
    with psycopg.connect(url) as connection, ThreadPoolExecutor(2) as threads:
        connection.execute("LOCK TABLE sessions")
        errors = [str(waiting.exception()) for waiting in [threads.submit(store.load, "s") for _ in range(2)]]
    assert any("all 1 connections were in use for 1 s: is pool_size large enough" in error for error in errors)
    assert store.load("s") is not None
    opened.close()


# -- the address


@pytest.mark.parametrize(
    "query",
    [
        "options=-c%20search_path=app",
        "options=-c+search_path%3Dapp",
        "options=-c%20search_path%3Dapp&application_name=a+b",
        "application_name=a%20b&options=-csearch_path=app",
    ],
)
@pytest.mark.parametrize("by_url", [True, False])
def test_a_space_in_a_parameter(url: str, query: str, by_url: bool) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA app")
    address = f"{url}?{query}"
    with closing(PostgresSessionStore.from_url(f"{address}&pool_size=2") if by_url else PostgresSessionStore(address)) as store:
        Session("s", store=store).add_message("user", "x")
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT session_id FROM app.sessions").fetchall() == [("s",)]
            names = connection.execute("SELECT application_name FROM pg_stat_activity WHERE query LIKE 'WITH header%'").fetchall()
        if "application_name" in query:
            assert ("a b",) in names


def test_options_of_the_environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA app")
    monkeypatch.setenv("PGOPTIONS", "-c search_path=app")
    with closing(PostgresSessionStore(url)) as store:
        Session("s", store=store).add_message("user", "x")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT session_id FROM app.sessions").fetchall() == [("s",)]


# -- who listens


def test_200_who_wait_share_one_connection(url: str, face: str) -> None:
    with closing(Proxy(url)) as proxy, closing(PostgresSessionStore(proxy.url, pool_size=POOL)) as store:
        headers = [commit(store, born(f"s{number}")) for number in range(20)]
        store.wait("nobody", 0, 1.5)  # from now on only notices tell
        waiting = [headers[number % 20] for number in range(200)]

        def say_more() -> None:
            with ThreadPoolExecutor(POOL) as threads:
                list(threads.map(lambda header: commit(store, header, say("x")), headers))

        async def wait_all() -> None:
            tasks = [asyncio.create_task(store.asynchronous.wait(h.session_id, h.version, 60)) for h in waiting]
            await asyncio.to_thread(say_more)
            await asyncio.wait_for(asyncio.gather(*tasks), 30)

        if face == "async":
            asyncio.run(wait_all())
        else:
            with ThreadPoolExecutor(200) as threads:
                ends = [threads.submit(store.wait, h.session_id, h.version, 60) for h in waiting]
                say_more()
                for end in ends:
                    end.result(30)
        assert proxy.connections <= 2 * POOL + 1


def test_notices_are_sent_while_somebody_listens(url: str, face: str) -> None:
    with closing(PostgresSessionStore(url)) as writer, psycopg.connect(url, autocommit=True) as beside:
        beside.execute("LISTEN sessile_sessions")
        header = commit(writer, born("s"), say("nobody listens"))
        with closing(PostgresSessionStore(url)) as store, ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(Driven(store if face == "blocking" else store.asynchronous).wait, "s", header.version, 60)
            wait_until(lambda: _are(_listeners(url), 2), "somebody who listens")
            header = commit(writer, header, say("somebody does"))
            waiting.result(20)
            writer.delete("s", expected=header.version)
        wait_until(lambda: _are(_listeners(url), 1), "that nobody listens but the one beside")
        commit(writer, born("s"), say("nobody listens any more"))
        beside.execute("SELECT pg_notify('sessile_sessions', 'end')")
        heard = [notice.payload for notice in beside.notifies(timeout=20, stop_after=3)]
    assert heard == [f"{header.version} s", "0 s", "end"]


def test_watchers_hear_what_is_said_and_end(url: str) -> None:
    store = PostgresSessionStore(url, pool_size=POOL)
    with Session("s", store=store) as session:
        session.add_message("user", "first")
        watching = session.watch(timeout=30)
        session.add_message("user", "second")
        assert next(watching).text == "second"

    async def both() -> list[str]:
        async with AsyncSession("s", store=store) as session:
            heard = [asyncio.create_task(_first(session.watch(timeout=30))) for _ in range(50)]
            while any(not one.done() for one in heard):  # one that begins to watch later hears the next
                await session.add_message("user", "said")
                await asyncio.wait(heard, timeout=0.1)
            return [one.result() for one in heard]

    assert asyncio.run(both()) == ["said"] * 50
    store.close()


async def _first(watching: Any) -> str:
    return (await anext(watching)).text


def test_who_waits_is_told_of_a_delete_and_of_a_restart(url: str, store: Driven) -> None:
    header = commit(store, born("s"))
    with ThreadPoolExecutor(1) as threads:
        restart = functools.partial(end_connections, url)
        for ended in (restart, functools.partial(store.delete, "s", expected=header.version)):
            waiting = threads.submit(store.wait, "s", header.version, 60)
            wait_until(lambda: _listens(url), "somebody who listens")
            ended()
            waiting.result(20)
            assert ended is not restart or store.load("s") == header
        store.wait("s", 0, 0.01)
        store.wait("s", header.version, 60)  # it is another one by now


def _listeners(url: str) -> list[Any]:
    """The processes whose last statement was LISTEN."""
    with psycopg.connect(url, autocommit=True) as connection:
        sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN%'"
        return connection.execute(sql).fetchall()


def _listens(url: str) -> None:
    assert len(_listeners(url)) > 0
