"""What is particular to the PostgreSQL store: JSONB, its tables, and several stores in a database."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from sessile import MemorySessionStore, PostgresSessionStore, Session, SessionManager, copy_store
from sessile.errors import CorruptStore, InvalidInput, Missing, StoreUnavailable
from sessile.store.waist import Query


@pytest.fixture
def url(postgres_server: Any) -> str:
    return postgres_server.url()


def execute(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


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
    assert execute(url, "SELECT role, content FROM sessions_entries WHERE kind = 'message'") == [("user", "hello")]


def test_reading_makes_no_tables(url: str) -> None:
    with SessionManager(url) as manager:
        assert not manager.exists("s")
        assert [*manager.each()] == []
        assert not manager.delete("s")
        manager.sweep(repair=True)
    assert execute(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(0,)]


# -- table names


@pytest.mark.parametrize("names", [("one", "two"), ("user", "order", "a", "select"), ("_", "x" * 41)])
def test_stores_share_a_database(url: str, names: tuple[str, ...]) -> None:
    for table in names:
        with Session("s", store=f"{url}?table_name={table}") as session:
            session.add_message("user", table)
    for table in names:
        with Session("s", store=f"{url}?table_name={table}") as session, SessionManager(session.store) as manager:
            assert [message.text for message in session.messages] == [table]
            assert len(manager.list()) == 1
            assert manager.delete("s")


@pytest.mark.parametrize(
    "name", ["a_entries", "_entries", "sessile_schema", "pg_class", "A", "a-b", 'a"b', "", "1a", "ä", "x" * 42, "a\n"]
)
def test_table_names_that_would_meet_others_are_refused(name: Any) -> None:
    with pytest.raises(InvalidInput, match=r"table_name .* cannot be used: take"):
        PostgresSessionStore("postgresql://h/d", name)


@pytest.mark.parametrize("made", ["TABLE sessions_entries (x int)", "VIEW sessions AS SELECT 1", "SEQUENCE sessions_entries"])
def test_what_is_somebody_elses_is_left_alone(url: str, made: str) -> None:
    execute(url, f"CREATE {made}")
    with pytest.raises(CorruptStore, match=r"'sessions(_entries)?' that is not sessile's: pass another table_name"):
        Session("s", store=url).add_message("user", "x")
    assert len(execute(url, "SELECT relname FROM pg_class WHERE relname LIKE 'sess%'")) == 1


@pytest.mark.parametrize("dropped", ["sessions, sessions_entries", "sessions, sessions_entries, sessile_schema", "sessions"])
@pytest.mark.parametrize("read", [False, True])
def test_tables_that_were_dropped_are_made_again(url: str, dropped: str, read: bool) -> None:
    with SessionManager(PostgresSessionStore(url)) as manager:
        manager.create_session(session_id="s").add_message("user", "before")
        execute(url, f"DROP TABLE {dropped}")
        if read:
            assert not manager.exists("s")
            assert [*manager.each()] == []
            assert not manager.delete("s")
        manager.create_session(session_id="s").add_message("user", "after")
        for store in (manager.store, url):
            with Session("s", store=store) as session:
                assert [message.text for message in session.messages] == ["after"]
        manager.store.close()


def test_a_log_whose_table_was_dropped_is_missing(url: str) -> None:
    with Session("s", store=PostgresSessionStore(url)) as session:
        session.add_message("user", "before")
        (log,) = session.store.logs()
        execute(url, "DROP TABLE sessions_entries")
        with pytest.raises(Missing):
            session.store.read(log, 0, 1)
        Session("t", store=session.store).add_message("user", "after")
        assert Session("t", store=session.store).message_count == 1
        with pytest.raises(Missing):
            session.store.read(log, 0, 1)
        session.store.close()


# -- what cannot be read, or stored


@pytest.mark.parametrize("details", ["[]", "5", '{"state": 5}', '{"lineage": [1]}'])
def test_a_session_that_cannot_be_read_can_be_deleted(url: str, details: str) -> None:
    with SessionManager(url) as manager:
        for name in ("s", "t"):
            manager.create_session(session_id=name).add_message("user", "x")
        execute(url, f"UPDATE sessions SET details = '{details}' WHERE session_id = 's'")
        with pytest.raises(CorruptStore) as caught:
            manager.store.load("s")
        assert caught.value.user_id == "default_user"
        assert [header.session_id for header in manager.each()] == ["t"]
        assert manager.delete("s")
        assert manager.store.load("s") is None
        assert [log.partition(".")[2] for log in manager.store.logs()] == ["t"]


@pytest.mark.parametrize("odd", ["a\x00", "a\ud800"])
def test_text_that_postgresql_does_not_have(url: str, odd: str) -> None:
    with SessionManager(url) as manager:
        manager.create_session(session_id="s")
        for field in ("user_id", "parent", "root", "prefix"):
            with pytest.raises(InvalidInput, match=field.replace("_", ".")):
                manager.list(**{field: odd})
        with pytest.raises(InvalidInput):
            manager.store.load(odd)
        with pytest.raises(InvalidInput):
            manager.store.find(Query(cursor="WzEuMCwiYVx1ZDgwMCJd"))  # [1.0, "a\ud800"]


@pytest.mark.parametrize("option", ["", "?options=-c%20search_path%3Dpublic", "?options=-csearch_path=public&connect_timeout=3"])
def test_a_statement_that_takes_too_long_is_given_up(url: str, option: str) -> None:
    store = PostgresSessionStore(url + option, timeout=0.5)
    Session("s", store=store).add_message("user", "x")
    with psycopg.connect(url) as connection:
        connection.execute("SELECT * FROM sessions FOR UPDATE")
        with pytest.raises(StoreUnavailable, match="statement timeout"):
            Session("s", store=store, timeout=0.1).add_message("user", "y")
    assert Session("s", store=store).message_count == 1
    store.close()


def test_a_search_leaves_out_none_of_those_that_are_equally_good(url: str) -> None:
    with SessionManager(url) as manager:
        for number in range(30):
            session = manager.create_session("ann", session_id=f"s{number}")
            session.add_messages([("user", "apple " * (1 + other % 3) + f"n{other}") for other in range(40)])
            session.revert(number % 3)
        live = sum(session.message_count for session in manager.get_sessions_for_user("ann"))
        assert live == 30
        for limit in (live, 50, 200, 3000):
            assert len({hit.message.id for hit in manager.search("apple", limit=limit)}) == live


def test_a_server_that_may_only_be_read_is_searched_all_the_same(url: str) -> None:
    with SessionManager(url) as manager:
        manager.create_session("ann", session_id="s").add_message("user", "apple")
    with SessionManager(f"{url}?options=-c+default_transaction_read_only%3Don") as manager:
        assert [hit.session_id for hit in manager.search("apple user:ann")] == ["s"]


def test_a_header_with_odd_ancestors_fails_nobodys_search(url: str) -> None:
    with SessionManager(url) as manager:
        for name in ("bad", "good"):
            manager.create_session(session_id=name).add_message("user", "apple")
        execute(url, """UPDATE sessions SET details = '{"ancestors": [["x.y", "z"]]}', parent = 'x' WHERE session_id = 'bad'""")
        assert [hit.session_id for hit in manager.search("apple")] == ["good"]


@pytest.mark.parametrize("column", ["kind", "role", "content", "id", "time", "turn", "count", "base", "prev"])
@pytest.mark.parametrize("position", [1, 2])
def test_each_column_of_a_row_that_was_altered_is_named(url: str, column: str, position: int) -> None:
    with Session("s", store=url) as session:
        session.add_messages([("user", "one"), ("user", "two"), {"role": "user", "content": "three", "metadata": {"a": 1}}])
        session.add_message("user", "four")
    change = {"kind": "'a.b'", "role": "'tool'", "time": "1.5", "count": "7", "base": "7"}.get(column, "'00'")
    execute(url, f"UPDATE sessions_entries SET {column} = {change} WHERE position = {position}")
    with Session("s", store=PostgresSessionStore(url)) as session:
        altered = position == 1 or column == "kind"  # what is whole in `body` has nothing in the other columns
        assert bool(session.verify()) is not altered
        assert bool(copy_store(session.store, MemorySessionStore()).problems) is altered


@pytest.mark.parametrize(
    "change",
    [
        """sessions_entries SET body = '{"~": null}', content = NULL WHERE session_id = 'bad'""",
        """sessions SET details = details || '{"ancestors": 5, "ancestors~": "[["}', parent = 'x' WHERE session_id = 'bad'""",
        "sessions SET head = 9223372036854775807 WHERE session_id = 'bad'",
    ],
)
def test_a_broken_row_fails_and_delays_nobodys_search(url: str, change: str) -> None:
    with SessionManager(url) as manager:
        for name in ("bad", "good"):
            manager.create_session(session_id=name).add_message("user", "apple")
        execute(url, f"UPDATE {change}")
        assert "good" in [hit.session_id for hit in manager.search("apple")]
        assert [hit.session_id for hit in manager.search("apple session:good")] == ["good"]


def test_a_fork_of_an_odd_id_is_searched(url: str) -> None:
    """One that JSONB would change, if it were a number."""
    with SessionManager(url) as manager:
        session = manager.create_session(session_id="a,1e5")
        session.add_message("user", "apple")
        session.fork(1, "fork")
        manager.delete("a,1e5")
        assert [hit.session_id for hit in manager.search("apple")] == ["fork"]
