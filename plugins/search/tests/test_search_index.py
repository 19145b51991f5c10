"""The index beside a store: whatever is said, taken back, forked and deleted, it finds what reading everything finds."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from tests.stores import DURABLE, url_of

from sessile import MemorySessionStore, SessionManager
from sessile.store import SearchQuery, StoreWrapper, open_store
from sessile_search import SearchIndex

WORDS = ("red", "green", "blue", "redder")
ASKED = ("red", "red green", '"red green"', "red*", "red user:ann", "blue session:a", "red session:b user:bob")


class Plain(StoreWrapper):
    """A store without an index: its manager reads everything."""

    def __getattr__(self, name: str) -> Any:
        if name == "search":
            raise AttributeError(name)
        return super().__getattr__(name)


def found(manager: SessionManager, asked: str) -> list[tuple[str, str]]:
    return sorted((hit.session_id, hit.message.id) for hit in manager.search(asked, limit=1000))


class Searching(RuleBasedStateMachine):
    """Sessions are changed through one store, and searched through others, of which some come late."""

    kind = "file"

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.url = url_of(self.kind, self.folder)
        self.writer = SessionManager(open_store(self.url))
        self.plain = SessionManager(Plain(self.writer.store))
        self.searcher = SessionManager(open_store(self.url))

    @rule(name=st.sampled_from("abc"), texts=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=3), max_size=4))
    def say(self, name: str, texts: list[list[str]]) -> None:
        session = self.writer.get_session(name) or self.writer.create_session("ann" if name == "a" else "bob", session_id=name)
        session.add_messages([("user", " ".join(text)) for text in texts])

    @rule(name=st.sampled_from("abc"), of=st.sampled_from("abc"), at=st.integers(0, 3))
    def fork(self, name: str, of: str, at: int) -> None:
        session = self.writer.get_session(of)
        if session and not self.writer.exists(name):
            session.fork(min(at, session.message_count), name)

    @rule(name=st.sampled_from("abc"), at=st.integers(0, 3))
    def revert(self, name: str, at: int) -> None:
        if session := self.writer.get_session(name):
            session.revert(min(at, session.message_count))

    @rule(name=st.sampled_from("abc"))
    def delete(self, name: str) -> None:
        self.writer.delete(name)

    @rule()
    def lose_the_index(self) -> None:
        for file in self.folder.rglob(".search.db*"):
            file.unlink()

    @rule(asked=st.sampled_from(ASKED))
    def search(self, asked: str) -> None:
        assert found(self.searcher, asked) == found(self.plain, asked)

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            for manager in (self.writer, self.searcher):
                manager.store.close()


@pytest.mark.parametrize("kind", DURABLE)
def test_a_search_finds_what_reading_everything_finds(kind: str, request: pytest.FixtureRequest) -> None:
    full = request.config.getoption("--full")
    machine = type(f"Searching_{kind}", (Searching,), {"kind": kind})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=200 if full else 10, stateful_step_count=50 if full else 30, deadline=None)
    )


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[SessionManager]:
    with SessionManager(f"file://{tmp_path / 'sessions'}") as manager:
        yield manager


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return tmp_path / "sessions" / ".search.db"


def test_the_index_is_its_owners_and_made_by_the_first_search_that_finds_a_session(manager: SessionManager, index: Path) -> None:
    assert manager.search("red") == []
    assert not index.parent.exists()
    session = manager.create_session()
    session.add_message("user", "red")
    assert not index.exists()
    assert len(manager.search("red")) == 1
    session.add_message("user", "red again")
    assert len(manager.search("red")) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in index.parent.glob(".search.db*")} == {0o600}
    assert "ok, logs: 1" in str(manager.store.check())


@pytest.mark.parametrize("kept", [0, 100, 5000])
def test_a_file_that_was_cut_is_made_anew(manager: SessionManager, index: Path, kept: int) -> None:
    manager.create_session().add_message("user", "red")
    manager.search("red")
    index.write_bytes(index.read_bytes()[:kept])
    for suffix in ("-wal", "-shm"):
        Path(f"{index}{suffix}").unlink(missing_ok=True)
    assert len(manager.search("red")) == 1
    assert "ok, logs: 1" in str(manager.store.check())


def test_an_index_of_another_format_is_made_anew(manager: SessionManager, index: Path) -> None:
    manager.create_session().add_message("user", "red")
    manager.search("red")
    with closing(sqlite3.connect(index)) as db:
        db.execute("DELETE FROM logs")
        db.execute("PRAGMA user_version = 99")
        db.commit()
    assert len(manager.search("red")) == 1


@pytest.mark.parametrize("part", range(8))
def test_a_damaged_index_finds_nothing_wrong(manager: SessionManager, index: Path, part: int) -> None:
    for name in ("ann", "bob"):
        manager.create_session(name).add_messages([("user", f"{word} of {name}") for word in WORDS])
    everything = found(manager, "red*")
    with closing(sqlite3.connect(index)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    sound = index.read_bytes()
    for place in range(part, len(sound), 8 * 61):
        index.write_bytes(sound[:place] + bytes([sound[place] ^ 0xFF]) + sound[place + 1 :])
        for suffix in ("-wal", "-shm"):
            Path(f"{index}{suffix}").unlink(missing_ok=True)
        assert set(found(manager, "red*")) <= set(everything), place
        assert found(manager, "red* user:cid") == []


def test_what_is_deleted_is_gone_from_the_index(manager: SessionManager, index: Path) -> None:
    kept = manager.create_session("ann", session_id="kept")
    gone = manager.create_session("bob", session_id="gone")
    kept.add_message("user", "red")
    gone.add_messages([("user", "secretword"), ("user", "heirloom"), ("user", "unheired")])
    assert len(manager.search("secretword")) == 1
    gone.fork(2, "heir")
    with closing(sqlite3.connect(index)) as db:
        count = db.execute("SELECT count(*) FROM said").fetchone()[0]
        manager.delete("gone")
        assert db.execute("SELECT count(*) FROM said").fetchone()[0] == count - 1, "before anybody searches"
    assert [hit.session_id for hit in manager.search("heirloom")] == ["heir"]
    manager.store.check(repair=True)
    assert b"unheired" not in b"".join(file.read_bytes() for file in index.parent.glob(".search.db*"))
    manager.delete("heir")
    assert manager.search("secretword") == manager.search("heirloom") == []
    manager.store.check(repair=True)
    with closing(sqlite3.connect(index)) as db:
        assert db.execute("SELECT count(*) FROM logs").fetchone() == (1,)
    assert b"secretword" not in index.read_bytes()


def test_where_no_index_can_be_written_everything_is_read(manager: SessionManager, index: Path) -> None:
    manager.create_session().add_message("user", "red")
    index.mkdir()
    assert len(manager.search("red")) == 1
    assert "cannot be used" in str(manager.store.check())


def test_an_entry_that_cannot_be_read_hides_no_other(manager: SessionManager, index: Path) -> None:
    for name in ("one", "two"):
        session = manager.create_session(session_id=name)
        for text in ("red", "red again", "red at last", "red, and that is all"):
            session.add_message("user", text)
    log = index.parent / "one" / "log.jsonl"
    log.write_bytes(log.read_bytes().replace(b'"red again"', b'"red agai\xff"'))
    assert [len(manager.search(f"red session:{name}")) for name in ("one", "two")] == [3, 4]
    assert len(manager.search("red")) == 7


def test_what_was_removed_by_hand_is_forgotten(manager: SessionManager, index: Path) -> None:
    for name in ("gone", "other"):
        manager.create_session("ann", session_id=name).add_message("user", f"red {name}")
    assert len(manager.search("red")) == 2
    shutil.rmtree(index.parent / "gone")
    shutil.rmtree(index.parent / "other")
    manager.create_session("bob", session_id="other").add_message("user", "red anew")
    assert [hit.message.text for hit in manager.search("red")] == ["red anew"]
    with closing(sqlite3.connect(index)) as db:
        assert db.execute("SELECT count(*), (SELECT count(*) FROM said) FROM logs").fetchone() == (1, 1)


def test_processes_search_and_write_at_once(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'sessions'}"
    program = """if True:
        import sys
        from sessile import SessionManager
        with SessionManager(sys.argv[1]) as manager:
            for number in range(20):
                session = manager.get_session(sys.argv[2]) or manager.create_session(session_id=sys.argv[2])
                session.add_message("user", f"red {number}")
                mine = [hit for hit in manager.search("red", limit=1000) if hit.session_id == sys.argv[2]]
                assert len(mine) == number + 1, (len(mine), number)
    """
    command = [sys.executable, "-c", program, url]
    running = [subprocess.Popen([*command, name], stderr=subprocess.PIPE, text=True) for name in "abc"]
    assert [(one.communicate()[1], one.returncode) for one in running] == [("", 0)] * 3
    with SessionManager(url) as manager:
        assert len(manager.search("red", limit=1000)) == 60


def test_a_search_that_was_killed_is_taken_up_by_the_next(tmp_path: Path) -> None:
    url, index = f"file://{tmp_path / 'sessions'}", tmp_path / "sessions" / ".search.db-wal"
    with SessionManager(url) as manager:
        for name in range(4):
            manager.create_session(session_id=f"{name}").add_messages([("user", f"red {number}") for number in range(5000)])
    program = "import sys, sessile; sessile.SessionManager(sys.argv[1]).search('red')"
    killed = 0
    for size in (1, 300_000, 600_000, 900_000):
        running = subprocess.Popen([sys.executable, "-c", program, url])
        while running.poll() is None and not (index.exists() and index.stat().st_size > size):
            time.sleep(0.001)
        killed += running.poll() is None
        running.kill()
        running.wait()
    assert killed >= 2, "in the middle of its work"
    with SessionManager(url) as manager:
        assert len(manager.search("red", limit=99_999)) == 20_000


def test_what_is_said_after_an_older_copy_was_put_back_is_found(manager: SessionManager, index: Path) -> None:
    session = manager.create_session(session_id="s")
    session.add_messages([("user", "one"), ("user", "two")])
    shutil.copytree(index.parent / "s", index.parent.parent / "backup")
    session.add_message("user", "lost")
    assert len(manager.search("lost")) == 1
    manager.store.close()
    shutil.rmtree(index.parent / "s")
    shutil.move(index.parent.parent / "backup", index.parent / "s")
    with SessionManager(open_store(f"file://{index.parent}")) as again:
        again.get_session("s").add_message("user", "new")  # type: ignore[union-attr]
        assert [len(again.search(word)) for word in ("one", "two", "lost", "new")] == [1, 1, 0, 1]


class Elsewhere(MemorySessionStore):
    """A store whose index lies at a path that its author chose."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.index = SearchIndex(path)

    def search(self, query: SearchQuery, limit: int, offset: int) -> Any:
        return self.index.search(self, query, limit, offset)


def test_a_file_that_is_somebody_elses_is_left_alone(tmp_path: Path) -> None:
    with SessionManager(f"sqlite:///{tmp_path / 'chats.db'}") as precious:
        precious.create_session(session_id="s").add_message("user", "precious")
    (tmp_path / "notes").write_text("my notes " * 100)
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("chats.db", "notes", "link"):
        manager = SessionManager(Elsewhere(tmp_path / name))
        manager.create_session().add_message("user", "fox")
        assert len(manager.search("fox")) == 1, "all is read"
        assert "something else" in manager.store.index.check(manager.store)
    assert (tmp_path / "notes").read_text().startswith("my notes")
    assert not (tmp_path / "target").exists()
    with SessionManager(f"sqlite:///{tmp_path / 'chats.db'}") as precious:
        assert [message.text for message in precious.get_session("s").messages] == ["precious"]  # type: ignore[union-attr]


def test_threads_of_several_processes_search_what_they_said(tmp_path: Path) -> None:
    """A lock on a file is the process's: what one thread does with the file must not take another's away."""
    url = f"file://{tmp_path / 'sessions'}"
    program = """if True:
        import os, sys, threading
        from sessile import SessionManager
        manager, wrong = SessionManager(sys.argv[1]), []
        def work(number):
            session = manager.create_session(session_id=f"{os.getpid()}-{number}")
            for count in range(1, 9):
                session.add_message("user", "apple")
                found = len(manager.search(f"apple session:{session.session_id}"))
                if found != count:
                    wrong.append((found, count))
        threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        sys.exit(str(wrong) if wrong else 0)
    """
    running = [subprocess.Popen([sys.executable, "-c", program, url], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(one.communicate()[1], one.returncode) for one in running] == [("", 0)] * 3


def test_a_child_that_is_forked_while_others_search_can_search(tmp_path: Path) -> None:
    program = """if True:
        import os, sys, threading, faulthandler
        from sessile import SessionManager
        manager = SessionManager(sys.argv[1])
        manager.create_session().add_message("user", "apple")
        manager.search("apple")
        ended = threading.Event()
        def search():
            while not ended.is_set():
                manager.search("apple")
        thread = threading.Thread(target=search)
        thread.start()
        for _ in range(20):
            child = os.fork()
            if not child:
                faulthandler.dump_traceback_later(20, exit=True)
                os._exit(0 if len(manager.search("apple")) == 1 else 2)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                break
        ended.set()
        thread.join()
        sys.exit(status)
    """
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program, f"file://{tmp_path / 'sessions'}"], check=False)
    assert done.returncode == 0


def test_what_was_deleted_and_put_back_is_found_again(manager: SessionManager, index: Path) -> None:
    for name in "ab":
        manager.create_session(session_id=name).add_message("user", "zebra")
    assert len(manager.search("zebra")) == 2
    shutil.copytree(index.parent / "a", index.parent.parent / "backup")
    manager.delete("a")
    shutil.copytree(index.parent.parent / "backup", index.parent / "a")
    assert sorted(hit.session_id for hit in manager.search("zebra")) == ["a", "b"]


def test_a_header_that_says_too_much_delays_nobodys_search(manager: SessionManager, index: Path) -> None:
    for name in ("bad", "good"):
        manager.create_session(session_id=name).add_message("user", "apple")
    state = index.parent / "bad" / "state.json"
    saved = json.loads(state.read_text())
    saved["log_bytes"] = (index.parent / "bad" / "log.jsonl").stat().st_size
    saved["header"] = {**saved["header"], "head": 2**63 - 1}
    state.write_text(json.dumps(saved))
    with SessionManager(open_store(f"file://{index.parent}")) as again:
        for _ in range(2):
            assert "good" in [hit.session_id for hit in again.search("apple")]


def test_an_index_that_another_process_holds_keeps_no_other_store_waiting(tmp_path: Path) -> None:
    stores = [SessionManager(f"file://{tmp_path / name}") for name in ("held", "free")]
    for manager in stores:
        manager.create_session(session_id="s").add_message("user", "apple")
        assert len(manager.search("apple")) == 1
    with closing(sqlite3.connect(tmp_path / "held" / ".search.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        stores[0].get_session("s").add_message("user", "apple")  # type: ignore[union-attr]
        waiting = threading.Thread(target=lambda: stores[0].search("apple"))
        waiting.start()
        time.sleep(0.3)
        begin = time.monotonic()
        stores[1].get_session("s").add_message("user", "apple")  # type: ignore[union-attr]
        assert len(stores[1].search("apple")) == 2
        assert stores[0].delete("s")
        assert time.monotonic() - begin < 15  # of 30 that a search waits
        other.execute("ROLLBACK")
        waiting.join()


def test_what_was_removed_by_hand_is_erased_by_a_repair(manager: SessionManager, index: Path) -> None:
    for name in ("gone", "kept"):
        manager.create_session(session_id=name).add_message("user", f"secretword {name}")
    assert len(manager.search("secretword")) == 2
    shutil.rmtree(index.parent / "gone")
    manager.store.check(repair=True)
    with closing(sqlite3.connect(index)) as db:
        assert db.execute("SELECT count(*), (SELECT count(*) FROM said) FROM logs").fetchone() == (1, 1)
