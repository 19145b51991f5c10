"""What is particular to the SQLite store: one sync, shared files, migrations, foreign and broken files, search."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from sessile import AsyncSession, MemorySessionStore, Session, SessionManager, SQLiteSessionStore, copy_store
from sessile.errors import CorruptStore, InvalidInput, LockTimeout, SessionNotFound, StoreError, StoreTooNew
from sessile_sqlite import schema, search


def test_a_commit_is_one_transaction_synced_once(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    session = Session("s", store=store)
    session.add_message("user", "first")
    with closing(sqlite3.connect(tmp_path / "x.db")) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    db = store._connection.db  # the connection itself: there is no other way to see what is sent to SQLite
    assert db is not None
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL: one sync of the WAL for each COMMIT
    sent: list[str] = []
    db.set_trace_callback(sent.append)
    session.add_messages([("user", "a"), ("assistant", "b")])
    words = [statement.split()[0] for statement in sent]
    assert words == ["BEGIN", "UPDATE", "INSERT", "INSERT", "COMMIT"]


def test_two_tables_in_one_file_do_not_meet(tmp_path: Path) -> None:
    one, two = (SQLiteSessionStore(tmp_path / "x.db", table_name=name) for name in ("sessions", "chats"))
    Session("s", store=one).add_message("user", "in one")
    assert two.load("s") is None
    Session("s", store=two).add_message("user", "in two")
    assert [m.content for m in Session("s", store=one).messages] == ["in one"]
    assert Session("s", store=f"sqlite:///{tmp_path / 'x.db'}?table_name=chats").message_count == 1
    with pytest.raises(InvalidInput, match="is not valid"):
        SQLiteSessionStore(tmp_path / "x.db", table_name="x; DROP TABLE y")


@pytest.mark.parametrize("store", [":memory:", Path(":memory:"), "sqlite:///:memory:", "sqlite:///:memory:?table_name=chats"])
def test_a_database_in_memory_is_refused(store: str | Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidInput, match="':memory:' is not supported as a path: use memory://"):
        SessionManager(store) if str(store).startswith("sqlite") else SQLiteSessionStore(store)
    assert not list(tmp_path.iterdir())


def test_an_older_schema_is_migrated_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as older:
        older.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        store = SQLiteSessionStore(tmp_path / "x.db")
        Session("s", store=store).add_message("user", "from long ago")
        store.close()
    store = SQLiteSessionStore(tmp_path / "x.db")
    assert [hit.message.content for hit in SessionManager(store).search("long ago")] == ["from long ago"]
    Session("s", store=store).add_message("user", "from now")
    assert [hit.message.content for hit in SessionManager(store).search("now")] == ["from now"]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    Session("s", store=store).add_message("user", "x")
    store.close()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("UPDATE sessile_schema SET version = 99")
        db.commit()
    with pytest.raises(StoreTooNew, match=r"has schema 99, .* upgrade sessile-sqlite"):
        Session("s", store=SQLiteSessionStore(tmp_path / "x.db"))


def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"something else" * 100)
    for use in (lambda s: s.load("s"), lambda s: Session("s", store=s).add_message("user", "x")):
        with pytest.raises(CorruptStore, match="is not a SQLite database"):
            use(SQLiteSessionStore(tmp_path / "x.db"))
    assert (tmp_path / "x.db").read_bytes() == b"something else" * 100


def test_somebody_elses_table_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("CREATE TABLE sessions (mine TEXT)")
    with pytest.raises(CorruptStore, match="not sessile's: pass another table_name"):
        Session("s", store=SQLiteSessionStore(tmp_path / "x.db")).add_message("user", "x")


def test_a_lock_that_is_held_is_waited_for_and_then_named(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db", lock_timeout=0.2)
    session = Session("s", store=store)
    session.add_message("user", "x")
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockTimeout, match=r"was locked for 0\.2 s"):
            session.add_message("user", "y")
        assert session.message_count == 1  # readers do not wait
        other.execute("ROLLBACK")
    session.add_message("user", "y")
    assert session.message_count == 2


def test_one_broken_session_harms_no_other(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    manager = SessionManager(store)
    for name in ("good", "bad", "fine"):
        manager.create_session("u", session_id=name).add_message("user", f"{name} words")
    store.close()
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute("UPDATE sessions_details SET body = '{' WHERE key = (SELECT key FROM sessions WHERE session_id = 'bad')")
        db.execute("UPDATE sessions_entries SET kind = 9 WHERE place >> 34 = (SELECT key FROM sessions WHERE session_id = 'bad')")
        db.commit()
    manager = SessionManager(SQLiteSessionStore(tmp_path / "x.db"))
    assert [h.session_id for h in manager.list(user_id="u").items] == ["fine", "good"]
    assert [h.session_id for h in manager.each(limit=1)] == ["fine", "good"]
    assert {hit.session_id for hit in manager.search("words")} == {"fine", "good"}
    with pytest.raises(CorruptStore, match="the details of session 'bad'"):
        manager.get_session("bad")
    assert Session("good", store=manager.store).message_count == 1
    assert manager.delete_inactive(days=0) == 2
    assert manager.delete_user("someone else") == 0
    assert manager.delete_user("u") == 1
    assert manager.store.logs() == []


def test_what_forks_inherited_from_a_deleted_session_is_found(tmp_path: Path) -> None:
    manager = SessionManager(SQLiteSessionStore(tmp_path / "x.db"))
    root = manager.create_session(session_id="root")
    root.add_messages([("user", "the needle"), ("user", "another needle"), ("user", "a third needle")])
    root.fork(2, "child").fork(1, "grandchild")
    assert manager.delete("root")
    hits = {hit.message.text: hit.session_id for hit in manager.search("needle")}
    assert hits.keys() == {"the needle", "another needle"}
    assert hits["the needle"] in ("child", "grandchild")
    assert hits["another needle"] == "child"
    assert manager.delete("child")
    assert [(hit.session_id, hit.message.text) for hit in manager.search("needle")] == [("grandchild", "the needle")]


def test_a_users_search_is_not_crowded_out_by_others(tmp_path: Path) -> None:
    manager = SessionManager(SQLiteSessionStore(tmp_path / "x.db"))
    others = manager.create_session("others")
    others.add_messages([("user", "needle")] * 100)
    manager.create_session("ann").add_message("user", "a needle in a very long haystack of other words, last in every ranking")
    replaced = manager.create_session("ann")
    replaced.add_messages([("user", "needle")] * 50)
    replaced.set_history([("user", "nothing")])
    assert [hit.message.text[:8] for hit in manager.search("needle", user_id="ann", limit=1)] == ["a needle"]
    assert len(manager.search("needle", limit=7)) == 7


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    sessions = [Session(f"s{n}", store=store) for n in range(4)]
    threads = [threading.Thread(target=lambda s=s: [s.add_message("user", str(n)) for n in range(25)]) for s in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [s.message_count for s in sessions] == [25] * 4


def test_urls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert SQLiteSessionStore.from_url("sqlite:///a/b.db").path == Path("a/b.db").absolute()
    assert SQLiteSessionStore.from_url("sqlite:////a/b%20c.db?table_name=t").path == Path("/a/b c.db")
    for wrong in ("sqlite://host/x.db", "sqlite:x.db", "sqlite:///"):
        with pytest.raises(InvalidInput, match="names no path"):
            SQLiteSessionStore.from_url(wrong)


def test_what_a_url_cannot_say_is_refused(tmp_path: Path) -> None:
    path = f"sqlite:///{tmp_path / 'x.db'}"
    assert SQLiteSessionStore.from_url(f"{path}?lock_timeout=1.5").lock_timeout == 1.5
    for parameter in ("tble=q", "table_name=", "lock_timeout=soon"):
        with pytest.raises(InvalidInput, match=parameter.partition("=")[0]):
            Session("s", store=f"{path}?{parameter}")


def test_what_the_file_system_refuses_is_a_stores_error(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "plain" / "x.db"):
        (tmp_path / "plain").write_text("no folder")
        with pytest.raises(StoreError):
            Session("s", store=SQLiteSessionStore(path)).add_message("user", "x")


def _remove(path: Path) -> None:
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        (path.parent / name).unlink(missing_ok=True)


def _replace(path: Path) -> None:
    _remove(path)
    shutil.copy(path.with_name("backup.db"), path)


def _remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def _say(store: SQLiteSessionStore) -> None:
    Session("s", store=store).add_message("user", "hay")


async def _say_awaited(store: SQLiteSessionStore) -> None:
    async with AsyncSession("s", store=store) as session:
        await session.add_message("user", "hay")


@pytest.mark.parametrize("say", [_say, lambda store: asyncio.run(_say_awaited(store))], ids=["blocking", "awaited"])
@pytest.mark.parametrize("happens", [_remove, _replace, _remove_folder])
def test_nothing_goes_to_a_file_that_was_removed_or_replaced(
    tmp_path: Path, happens: Callable[[Path], None], say: Callable[[SQLiteSessionStore], None]
) -> None:
    path = tmp_path / "data" / "x.db"
    store = SQLiteSessionStore(path)
    store.migrate()
    store.close()
    shutil.copy(path, path.with_name("backup.db"))
    store = SQLiteSessionStore(path)
    manager = SessionManager(store)
    open_session = Session("open", store=store)
    open_session.add_message("user", "needle")
    assert len(manager.search("needle")) == 1
    happens(path)
    with pytest.raises(SessionNotFound):
        open_session.add_message("user", "lost")
    assert not manager.exists("open")
    assert manager.search("needle") == []
    say(store)
    assert [hit.message.text for hit in manager.search("hay")] == ["hay"]
    others = SQLiteSessionStore(path)
    assert [message.text for message in Session("s", store=others).messages] == ["hay"]
    assert [*manager.each()] == [*SessionManager(others).each()]


def test_a_process_that_ends_takes_nothing_from_two_stores_of_another(tmp_path: Path) -> None:
    """The last connection that is closed removes the WAL. A second store in a process must not make the first look closed."""
    path = tmp_path / "x.db"
    session = Session("s", store=SQLiteSessionStore(path))
    session.add_message("user", "1")
    Session("t", store=SQLiteSessionStore(path)).add_message("user", "another store")
    code = "import sys; from sessile import Session\nwith Session('s', store=sys.argv[1]) as s: s.add_message('user', '2')"
    subprocess.run([sys.executable, "-c", code, f"sqlite:///{path}"], check=True)
    session.add_message("user", "3")
    show = "import sys; from sessile import Session; print([m.text for m in Session('s', store=sys.argv[1]).messages])"
    seen = subprocess.run([sys.executable, "-c", show, f"sqlite:///{path}"], check=True, capture_output=True, text=True)
    assert seen.stdout == "['1', '2', '3']\n"


def test_others_commit_between_the_pieces_of_an_index_that_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "PIECE", 3)
    store = SQLiteSessionStore(tmp_path / "x.db")
    for name, count in (("a", 7), ("b", 1), ("c", 1), ("d", 4)):
        Session(name, store=store).add_messages([("user", f"{name} {index}") for index in range(count)])
    sent: list[str] = []
    assert store._connection.db is not None  # there is no other way to see what is sent to SQLite
    store._connection.db.set_trace_callback(sent.append)
    manager = SessionManager(store)
    assert [hit.message.text for hit in manager.search("a 6")] == ["a 6"]
    assert [statement.split()[0] for statement in sent].count("COMMIT") == 1 + 5  # to make the index, and of 13 messages
    store._connection.db.set_trace_callback(None)
    assert {hit.session_id for hit in manager.search("0")} == {"a", "b", "c", "d"}
    assert store.check()["index"] == "complete"


def test_an_entry_that_broke_after_it_was_indexed_hides_no_other(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    manager = SessionManager(store)
    for name in ("1", "2"):
        manager.create_session(session_id=name).add_message("user", "needle")
    assert len(manager.search("needle", limit=2)) == 2
    with closing(sqlite3.connect(tmp_path / "x.db")) as other, other:
        other.execute(
            "UPDATE sessions_entries SET kind = 9 WHERE place >> 34 = (SELECT key FROM sessions WHERE session_id = '1')"
        )
    for limit in (1, 2):
        assert [hit.session_id for hit in manager.search("needle", limit=limit)] == ["2"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes do not fork here")
def test_stores_are_made_while_the_process_forks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failures: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", failures.append)  # where what fails around a fork is told
    forked = threading.Event()

    def make_stores() -> None:
        while not forked.is_set():
            held = [SQLiteSessionStore(tmp_path / "s.db") for _ in range(50)]
            del held

    maker = threading.Thread(target=make_stores)
    kept = [SQLiteSessionStore(tmp_path / "s.db") for _ in range(500)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        maker.start()
        for _ in range(20):
            if not (child := os.fork()):
                os._exit(0)
            os.waitpid(child, 0)
    finally:
        forked.set()
        sys.setswitchinterval(interval)
        maker.join(30)
    assert kept
    assert failures == []


def test_a_store_that_is_only_read_soon_sees_that_its_file_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = SQLiteSessionStore(path)
    with Session("s", store=store) as session:
        session.add_message("user", "hello")
    assert store.load("s") is not None
    for file in tmp_path.iterdir():
        file.unlink()
    give_up = time.monotonic() + 10
    while store.load("s") is not None:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    assert not path.exists()
    store.close()


READER = """
import os, sys
from sessile import Session, SessionManager
from sessile.errors import StoreError
with SessionManager(sys.argv[2]) as manager:  # now all is imported
    manager.create_session(session_id="s").add_message("user", "x")
    manager.get_session("s").messages, manager.list()
if os.getuid() == 0:  # who is not kept out by permissions
    os.setgid(65534)
    os.setuid(65534)
manager = SessionManager(sys.argv[1])
session = manager.get_session("s")
print([message.text for message in session.messages], [header.session_id for header in manager.list()], flush=True)
for write in (lambda: session.add_message("user", "not written"), manager.store.migrate):
    try:
        write()
    except StoreError as error:
        print(error, flush=True)
    else:
        print("", flush=True)
print([hit.message.text for hit in manager.search("one")], [hit.message.text for hit in manager.search("nothing")], flush=True)
sys.stdin.readline()
import time
give_up = time.monotonic() + 30
while session.message_count < 2 and time.monotonic() < give_up:
    time.sleep(0.05)
print(session.message_count)
"""


@pytest.mark.parametrize("in_use", [False, True])
def test_a_file_that_may_only_be_read_is_read(tmp_path: Path, in_use: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:  # whose parents others may enter
        path = Path(folder) / "x #?.db"
        writer = SQLiteSessionStore(path)
        session = Session("s", store=writer)
        session.add_message("user", "one")
        if not in_use:
            writer.close()
        for name in (folder, *(os.path.join(folder, name) for name in os.listdir(folder))):
            os.chmod(name, 0o555 if name == folder else 0o444)
        command = [sys.executable, "-c", READER, f"sqlite:///{quote(str(path))}", f"sqlite:///{tmp_path}/other.db"]
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "['one'] ['s']\n"
        assert re.search(r"x #\?\.db.* is read-only: nothing was written", reader.stdout.readline())
        assert re.search(r"^$|x #\?\.db", reader.stdout.readline())  # there is nothing to migrate
        assert reader.stdout.readline() == "['one'] []\n"
        for name in (folder, *(os.path.join(folder, name) for name in os.listdir(folder))):
            os.chmod(name, 0o755 if name == folder else 0o644)
        again = SQLiteSessionStore(path)
        Session("s", store=again).add_message("user", "two")
        again.close()
        writer.close()
        out, _ = reader.communicate("go on\n", timeout=60)
        assert out == "2\n"
        assert [message.text for message in Session("s", store=SQLiteSessionStore(path)).messages] == ["one", "two"]


@pytest.mark.parametrize("name", ["select", "Order", "sqlite_master", "a-b", "", "1a"])
def test_a_table_name_that_sql_has_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"table_name .* is not valid"):
        SQLiteSessionStore(tmp_path / "x.db", table_name=name)


def test_the_words_of_what_was_deleted_are_in_the_file_no_more(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    manager = SessionManager(store)
    for user, text in (("ann", "SECRETWORD"), ("bob", "a plain word")):
        manager.create_session(user, session_id=user).add_message("user", f"{text} " * 5)
    assert [hit.session_id for hit in manager.search("secretword")] == ["ann"]
    manager.delete_user("ann")
    store.check(repair=True)
    assert [hit.session_id for hit in manager.search("plain")] == ["bob"]
    store.close()
    assert b"secretword" not in (tmp_path / "x.db").read_bytes().lower()
    with SessionManager(SQLiteSessionStore(tmp_path / "x.db")) as manager:
        manager.search("plain")
        manager.clear_all()
    manager.store.close()
    assert b"plain word" not in (tmp_path / "x.db").read_bytes().lower()
    assert b"plain" not in (tmp_path / "x.db").read_bytes().lower()


def test_what_is_no_message_hides_no_other_from_a_search(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    manager = SessionManager(store)
    for name in ("bad", "good"):
        manager.create_session(session_id=name).add_message("user", "needle", mood="fine")
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        broken = "replace(body, '\"role\"', '\"rule\"')"
        db.execute(f"UPDATE sessions_entries SET body = {broken} WHERE place >> 34 = (SELECT min(key) FROM sessions)")
    assert [hit.session_id for hit in manager.search("needle")] == ["good"]
    with pytest.raises(CorruptStore, match="no message"):
        manager.get_session("bad").messages  # noqa: B018
    manager.delete("bad")
    assert [hit.session_id for hit in manager.search("needle")] == ["good"]


def test_words_that_a_broken_entry_left_find_nothing_that_came_after_it(tmp_path: Path) -> None:
    store = SQLiteSessionStore(tmp_path / "x.db")
    manager = SessionManager(store)
    manager.create_session(session_id="broken").add_message("user", "needle")
    assert len(manager.search("needle")) == 1
    with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
        db.execute("UPDATE sessions_entries SET kind = 9")
    manager.delete("broken")
    manager.create_session(session_id="next").add_message("user", "hay")
    assert manager.search("needle") == []
    assert [hit.session_id for hit in manager.search("hay")] == ["next"]


def test_a_view_shows_what_was_said(tmp_path: Path) -> None:
    said = [
        {"role": "user", "content": "short"},
        {"role": "assistant", "content": "long ä" * 700},
        {"role": "assistant", "content": "with metadata " * 99, "metadata": {"a": 1}},
        {"role": "user", "content": "'; DROP TABLE sessions_entries; --", "raw": "x"},
        {"role": "tool", "content": "", "tool_call_id": "1"},
    ]
    for name in ("one", "two.three"):
        session = Session(name, store=f"sqlite:///{tmp_path}/x.db")
        session.add_messages(said)
        session.append("own.kind", {"role": "user", "content": "no message" * 200})
        session.revert(2)
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        rows = db.execute("SELECT session_id, position, role, content, time FROM sessions_messages").fetchall()
    expected = [(name, index, s["role"], s["content"]) for name in ("one", "two.three") for index, s in enumerate(said)]
    assert [row[:4] for row in rows] == expected
    assert all(row[4].startswith("20") for row in rows)


@pytest.mark.parametrize("column", ["hash", "user_id", "status", "body"])
def test_a_header_with_a_text_that_is_none_hides_no_other(tmp_path: Path, column: str) -> None:
    url = f"sqlite:///{tmp_path / 'x.db'}"
    with SessionManager(url) as manager:
        for name in ("bad", "good"):
            manager.create_session(session_id=name, title="x").add_message("user", "apple")
    table = "sessions_details" if column == "body" else "sessions"
    with closing(sqlite3.connect(tmp_path / "x.db")) as db:
        db.execute(
            f"UPDATE {table} SET {column} = CAST(x'ff' || {column} AS text) "
            "WHERE key = (SELECT key FROM sessions WHERE session_id = 'bad')"
        )
        db.commit()
    with SessionManager(SQLiteSessionStore(tmp_path / "x.db")) as manager:
        assert [header.session_id for header in manager.list()] == ["good"]
        assert [hit.session_id for hit in manager.search("apple")] == ["good"]
        with pytest.raises(CorruptStore):
            manager.get_session("bad")
        assert manager.delete("bad")
        assert manager.clear_all() == 1


def test_an_entry_with_a_text_that_is_none_hides_no_other(tmp_path: Path) -> None:
    with SessionManager(SQLiteSessionStore(tmp_path / "x.db")) as manager:
        session = manager.create_session(session_id="s")
        session.add_messages([("user", "apple one"), ("user", "apple two"), ("user", "apple three")])
        with closing(sqlite3.connect(tmp_path / "x.db")) as db:
            db.execute("UPDATE sessions_entries SET body = CAST(x'ff' || body AS text) WHERE body = 'apple two'")
            db.commit()
        assert sorted(hit.message.text for hit in manager.search("apple")) == ["apple one", "apple three"]
        assert not Session("s", store=manager.store).verify()


def test_a_time_that_nobody_can_have_written_is_named(tmp_path: Path) -> None:
    with SessionManager(SQLiteSessionStore(tmp_path / "x.db")) as manager:
        manager.create_session(session_id="s").add_messages([("user", "one"), ("user", "two")])
        with closing(sqlite3.connect(tmp_path / "x.db")) as db:
            db.execute("UPDATE sessions_entries SET time = 9e999 WHERE body = 'one'")
            db.commit()
        assert "altered" in Session("s", store=manager.store).verify().problem
        assert "altered" in copy_store(manager.store, MemorySessionStore()).problems[0]


def test_a_header_that_says_too_much_delays_nobodys_search(tmp_path: Path) -> None:
    with SessionManager(SQLiteSessionStore(tmp_path / "x.db")) as manager:
        for name in ("bad", "good"):
            manager.create_session(session_id=name).add_message("user", "apple")
        with closing(sqlite3.connect(tmp_path / "x.db")) as db:
            db.execute("UPDATE sessions SET head = 9223372036854775807 WHERE session_id = 'bad'")
            db.commit()
        assert "good" in [hit.session_id for hit in manager.search("apple")]
