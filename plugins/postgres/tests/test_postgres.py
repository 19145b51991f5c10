"""What is particular to the PostgreSQL store: JSONB, and several stores in a database."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from sessile import PostgresSessionStore, Session, SessionManager
from sessile.errors import StoreUnavailable


@pytest.fixture
def url(postgres_server: Any) -> str:
    return postgres_server.url()


def test_what_jsonb_would_change_stays_as_it_is(url: str) -> None:
    odd = ["a\u0000b", 1e300, -0.0, 1e-9, 1.0, 10**400, "1e5", "\\u0000", {"~": "x"}]
    with Session("s", store=url, metadata={"odd": odd}) as session:
        session.add_message("user", "plain", odd=odd)
        session.set_state({"odd": odd, "plain": 1})
        session.set_state("odd", [1])
        session.set_state("more", odd)
    with Session("s", store=PostgresSessionStore(url)) as session:
        assert repr(session.messages[0].metadata["odd"]) == repr(odd)
        assert repr(session.metadata["odd"]) == repr(odd)
        assert repr(session.state) == repr({"odd": [1], "plain": 1, "more": odd}) or session.state["more"] == odd
        assert session.verify()


def test_messages_can_be_asked_for_in_sql(url: str) -> None:
    with Session("s", store=url) as session:
        session.add_message("user", "hello")
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT body->'body'->>'content' FROM sessions_entries WHERE kind = 'message'").fetchall()
    assert rows == [("hello",)]


def test_reading_makes_no_tables(url: str) -> None:
    with SessionManager(url) as manager:
        assert not manager.exists("s")
        assert [*manager.each()] == []
        assert not manager.delete("s")
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_stores_share_a_database(url: str) -> None:
    for table in ("one", "two"):
        with Session("s", store=f"{url}?table_name={table}") as session:
            session.add_message("user", table)
            assert session.message_count == 1


def test_a_statement_that_takes_too_long_is_given_up(url: str) -> None:
    store = PostgresSessionStore(url, timeout=0.5)
    Session("s", store=store).add_message("user", "x")
    with psycopg.connect(url) as connection:
        connection.execute("SELECT * FROM sessions FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            Session("s", store=store, timeout=0.1).add_message("user", "y")
    assert Session("s", store=store).message_count == 1
    store.close()
