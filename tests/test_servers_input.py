"""Addresses, passwords, certificates, versions and tables that are wrong: what is said of them, and how soon."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pymongo import MongoClient

from sessile import MongoSessionStore, RedisSessionStore, Session
from sessile.errors import InvalidInput, SessileError, StoreError
from sessile.store.addresses import shown
from sessile.store.opening import open_store
from tests.proxy import Proxy
from tests.servers import MongoServer, RedisServer, free_port
from tests.stores import SERVERS
from tests.tls import TLSProxy


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_not_there(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scheme = {"postgres": "postgresql"}.get(kind, kind)
    url = f"{scheme}://someone:secret-word@127.0.0.1:{free_port()}/0?timeout=1"
    begin = time.monotonic()
    with pytest.raises(StoreError, match=r"does not answer.*is the server up") as caught:
        Session("s", store=url)
    assert time.monotonic() - begin < 10  # not the many seconds that a lost one is waited for
    for text in (str(caught.value), repr(caught.value), repr(open_store(url))):
        assert "secret-word" not in text
        assert "someone:***@" in text or "Error" in text
    assert "secret-word" not in caplog.text


def test_a_server_that_is_too_old(redis_server: Any, postgres_server: Any, mongodb_server: Any) -> None:
    with MongoClient(mongodb_server.url()) as client:
        version = client.server_info()["version"].encode() + b"\0"
    for server, new, old, text in (
        (redis_server, b"version\r\n$6\r\n6.", b"version\r\n$6\r\n5.", r"is Redis 5\.\d+\.\d+: 6\.2 or later is needed"),
        (postgres_server, b"server_version\x001", b"server_version\x000", r"is PostgreSQL 8.*: 12 or later is needed"),
        (mongodb_server, version, b"3" + version[1:], r"is MongoDB 3\..*: 4\.4 or later is needed"),
    ):
        proxy = Proxy(server.url(), rewrite=(new, old))
        with closing(proxy), pytest.raises(StoreError, match=text), Session("s", store=proxy.url) as session:
            session.add_message("user", "x")


def test_a_wrong_password_of_postgres(postgres_server: Any) -> None:
    good = postgres_server.url()
    with pytest.raises(StoreError, match=r"refuses this user, password or database.*password authentication failed") as caught:
        Session("s", store=good.replace("secret-word", "other-word"))
    assert "other-word" not in str(caught.value)
    with pytest.raises(StoreError, match=r"refuses this user, password or database.*does not exist"):
        Session("s", store=f"{good}_not")


def test_a_wrong_password_of_redis(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--requirepass", "secret-word")
    try:
        with pytest.raises(StoreError, match="refuses this user or password") as caught:
            Session("s", store=server.url().replace("://", "://:other-word@"))
        assert "other-word" not in str(caught.value)
        Session("s", store=server.url().replace("://", "://:secret-word@")).add_message("user", "x")
    finally:
        server.stop()


def test_a_wrong_password_of_mongodb(tmp_path: Path) -> None:
    server = MongoServer(tmp_path)
    try:
        with MongoClient(server.url()) as client:
            client.admin.command("createUser", "someone", pwd="secret-word", roles=["root"])
        server.kill()
        server.start("--auth")
        url = f"{server.url()}?authSource=admin"
        for user in ("", "someone:other-word@"):
            with pytest.raises(StoreError, match="refuses this user or password") as caught:
                Session("s", store=url.replace("://", f"://{user}"))
            assert "other-word" not in str(caught.value)
        Session("s", store=url.replace("://", "://someone:secret-word@")).add_message("user", "x")
    finally:
        server.stop()


def test_tls_is_asked_for_in_the_url(server_url: str, tmp_path: Path) -> None:
    scheme, query, authority = {
        "redis": ("rediss", "timeout=5", "ssl_ca_certs"),
        "postgresql": ("postgresql", "timeout=5&sslmode=verify-full&sslnegotiation=direct", "sslrootcert"),
        "mongodb": ("mongodb", "timeout=2&tls=true&directConnection=true", "tlsCAFile"),
    }[server_url.partition(":")[0]]
    with closing(TLSProxy(server_url, tmp_path)) as proxy:
        with Session("s", store=proxy.url(scheme, f"{query}&{authority}={proxy.authority}")) as session:
            session.add_message("user", "x")
        begin = time.monotonic()
        with pytest.raises(StoreError, match=rf"certificate.*{authority}"):
            Session("s", store=proxy.url(scheme, query))
        assert time.monotonic() - begin < 8
    with Session("s", store=server_url) as session:
        assert [message.text for message in session.messages] == ["x"]


@given(st.text(max_size=8), st.sampled_from(["redis", "redis+cluster", "postgresql", "mongodb"]))
@example("/", "redis")
@example("?", "mongodb")
@example("@", "postgresql")
@example("[", "redis")
def test_a_password_is_never_shown(odd: str, scheme: str) -> None:
    password = f"s3cr{odd}et9"
    for written in (password, quote(password, safe="")):
        url = f"{scheme}://someone:{written}@127.0.0.1:1/0?tlsCertificateKeyFilePassword=s3cret9"
        try:
            texts = [repr(open_store(url))]
        except InvalidInput as error:
            assert written == password, "it is written as it has to be"
            texts = [str(error)]
        for text in (*texts, shown(url)):
            assert "s3cr" not in text
            assert "et9" not in text


def test_parameters_that_a_driver_does_not_take(redis_server: Any, postgres_server: Any) -> None:
    for url, text in (
        (f"{redis_server.url()}?colour=blue", "does not take.*colour"),
        (f"{redis_server.url()}?socket_timeout=blue", "does not take.*socket_timeout"),
        (f"{postgres_server.url()}?colour=blue", "does not take.*colour"),
    ):
        with pytest.raises(InvalidInput, match=text):
            Session("s", store=url)
    for url in (
        "redis://h/0?pool_size=0",
        "postgresql://h/d?timeout=0",
        "mongodb://h/d?pool_size=-1",
        "mongodb://h/d?timeout=nan",
        "redis://h/0?timeout=1e300",
    ):
        with pytest.raises(InvalidInput, match=r"(pool_size|timeout) is"):
            Session("s", store=url)
    for url in ("redis+ring://h/0", "mongodb+ring://h/d"):
        with pytest.raises(SessileError, match="ring"):
            Session("s", store=url)


@pytest.mark.parametrize("store", [RedisSessionStore, MongoSessionStore])
def test_a_ttl_that_no_session_can_have(store: Any) -> None:
    for ttl in (0, -1, float("nan"), float("inf"), 1e300, 2**40, "3600", True):
        with pytest.raises(InvalidInput, match=r"ttl is .*: pass seconds above 0 and below 2\*\*40, or None"):
            store(ttl=ttl)
    assert [store(ttl=ttl).ttl for ttl in (0.5, 2**40 - 1, None)] == [0.5, 2**40 - 1, None]


def test_addresses_that_are_wrong(redis_server: Any) -> None:
    for url in ("redis://h/0?ttl=soon", "postgresql://h/d?pool_size=many", "mongodb://h/d?timeout=long"):
        with pytest.raises(SessileError, match="is no number"):
            Session("s", store=url)
    for url in ("redis://h/0?ttl=0", "postgresql://h/d?table_name=A-B", "mongodb://h/d?collection=A-B", "redis://h/0?prefix={}"):
        with pytest.raises(SessileError, match=r"(ttl is|table_name|collection|prefix) "):
            Session("s", store=url)
    with pytest.raises(StoreError, match=r"DB index is out of range|invalid DB index"):
        Session("s", store=redis_server.url() + "99999")


def test_a_table_that_is_somebody_elses(postgres_server: Any, mongodb_server: Any) -> None:
    url = postgres_server.url()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE sessions (cookie text)")
    with pytest.raises(StoreError, match=r"table 'sessions' that is not sessile's: pass another table_name"):
        Session("s", store=url).add_message("user", "x")
    with Session("s", store=f"{url}?table_name=others") as session:
        session.add_message("user", "x")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE sessile_schema SET version = 99")
    with pytest.raises(StoreError, match=r"has schema 99, .*upgrade sessile-postgres"):
        Session("s", store=f"{url}?table_name=others")
    url = mongodb_server.url()
    client: Any = MongoClient(url)
    database = client.get_default_database()
    database["sessions"].insert_one({"cookie": 1})
    with pytest.raises(StoreError, match="collection 'sessions' that is not sessile's: pass another collection"):
        Session("s", store=url).add_message("user", "x")
    with Session("s", store=f"{url}?collection=others") as session:
        session.add_message("user", "x")
    database["sessile_schema"].update_one({}, {"$set": {"version": 99}})
    client.close()
    with pytest.raises(StoreError, match=r"has schema 99, .*upgrade sessile-mongodb"):
        Session("s", store=f"{url}?collection=others")
