"""The conformance tests. Subclass `StoreConformance`, give it a `store_url` fixture, and run pytest."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from sessile.drive import Blocking, run
from sessile.errors import Closed, Conflict, SessionNotFound
from sessile.log import Change, Draft, Entry, Header, stamp
from sessile.session import Session
from sessile.store import Query
from sessile.stores import open_store as open_url
from sessile.testing import processes
from sessile.testing.graph_machine import GraphMachine
from sessile.testing.machine import StoreMachine
from sessile.testing.plugin import full

capability = pytest.mark.capability
CONFUSABLE = ("user/alice", "user:alice", "user_alice", "user%2falice", "User_alice", "user alice", "üser", "aux", "a" * 255)


class Driven:
    """A store whose methods, blocking or async, are called and waited for."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        return lambda *args, **kwargs: run(Blocking().call(method, *args, **kwargs))


def commit(store: Any, header: Header, *drafts: Draft, now: float = 1.0, **fields: Any) -> Header:
    """Commit behind a header and return the next one."""
    entries, changes = stamp(header, Change(drafts, fields), now)
    store.commit(header.session_id, expected=header.version, entries=entries, changes=changes)
    return header.after(changes)


def _run_machine(machine: Any, open_store: Callable[[], Any], examples: int) -> None:
    run_state_machine_as_test(
        lambda: machine(open_store),  # type: ignore[arg-type]
        settings=settings(max_examples=examples, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)),
    )


def say(text: str, **more: Any) -> Draft:
    """A message to be."""
    return Draft("message", {"role": "user", "content": text, **more})


class StoreConformance:
    """All that the six methods promise. Override `store_url`; for a store that lives in one process, `open_store` too."""

    many_processes = True  # False for a store that one process cannot share with another: those tests are left out

    @pytest.fixture
    def store_url(self) -> str:
        raise pytest.UsageError("define the fixture store_url: a URL that opens an empty store of yours")

    @pytest.fixture
    def open_store(self, store_url: str) -> Iterator[Callable[[], Any]]:
        """A function that opens the store, each time anew, on the same data."""
        opened: list[Driven] = []

        def open_again() -> Driven:
            opened.append(Driven(open_url(store_url)))
            return opened[-1]

        yield open_again
        for store in opened:
            store.close()

    @pytest.fixture
    def store(self, open_store: Callable[[], Any]) -> Any:
        return open_store()

    # -- load and commit

    @capability("commit")
    def test_what_is_committed_is_there_for_everybody(self, store: Any, open_store: Callable[[], Any]) -> None:
        header = commit(store, Header(session_id="s", user_id="ann", metadata={"k": [1, "ä"]}), say("one"), say("two"))
        header = commit(store, header, Draft("state", {"set": {"a": 1}}), state={"a": 1}, title="T")
        for opened in (store, open_store()):
            assert opened.load("s") == header
            entries = opened.read("s", 0, 10)
            assert [(e.position, e.kind) for e in entries] == [(0, "message"), (1, "message"), (2, "state")]
            assert header.hash == entries[-1].hash
            assert [e.prev for e in entries[1:]] == [e.hash for e in entries[:-1]]

    @capability("commit")
    def test_an_unknown_session_is_none_and_leaves_no_trace(self, store: Any) -> None:
        assert store.load("nobody") is None
        assert store.read("nobody", 0, 10) == []
        assert store.find(Query()).items == []
        store.delete("nobody")

    @capability("commit")
    def test_a_commit_on_another_version_changes_nothing(self, store: Any) -> None:
        first = commit(store, Header(session_id="s"), say("one"))
        second = commit(store, first, say("two"))
        for stale in (Header(session_id="s"), first, second.after({"version": 9})):
            with pytest.raises(Conflict) as caught:
                commit(store, stale, say("lost"), title="lost")
            assert caught.value.header in (None, second)
        assert store.load("s") == second
        assert [e.body["content"] for e in store.read("s", 0, 9)] == ["one", "two"]
        with pytest.raises(Conflict):
            commit(store, Header(session_id="other", version=3), say("lost"))
        assert store.load("other") is None

    @capability("commit")
    def test_a_header_changes_without_entries(self, store: Any) -> None:
        header = commit(store, Header(session_id="s"))
        assert (bool(header.version), header.head) == (True, 0)
        header = commit(store, header, status="archived", metadata={"x": None})
        header = commit(store, header, say("hello"))
        assert store.load("s") == header
        assert header.metadata == {"x": None}

    @capability("commit")
    def test_fields_of_newer_versions_survive(self, store: Any, open_store: Callable[[], Any]) -> None:
        header = Header(session_id="s")
        _, changes = stamp(header, Change([say("one")]), 1.0)
        newer = Entry.from_dict({"position": 0, "kind": "message", "id": "i", "time": 1.0, "body": {}, "mood": ["new"]})
        store.commit("s", expected=0, entries=[newer], changes={**changes, "colour": {"rgb": 1}})
        opened = open_store()
        assert opened.read("s", 0, 1)[0].extra == {"mood": ["new"]}
        assert opened.load("s").extra == {"colour": {"rgb": 1}}

    @capability("commit")
    @pytest.mark.parametrize("text", ["", "ä\u2028\n\r\t\"\\'; DROP TABLE--", "x" * 1_000_000, "\U0001f600" * 10, "\x00\x7f"])
    def test_any_text_comes_back(self, store: Any, text: str) -> None:
        header = commit(store, Header(session_id="s"), say(text, number=1e22, small=5e-324, big=2**70))
        (entry,) = store.read("s", 0, 1)
        assert entry.body == {"role": "user", "content": text, "number": 1e22, "small": 5e-324, "big": 2**70}
        assert entry.hash == header.hash

    @capability("isolation")
    def test_ids_that_differ_never_meet(self, store: Any) -> None:
        for session_id in CONFUSABLE:
            commit(store, Header(session_id=session_id, user_id=session_id), say(session_id))
        for session_id in CONFUSABLE:
            assert store.load(session_id).user_id == session_id
            assert [e.body["content"] for e in store.read(session_id, 0, 9)] == [session_id]
            assert [h.session_id for h in store.find(Query(user_id=session_id)).items] == [session_id]
        store.delete("user/alice")
        assert [store.load(session_id) is None for session_id in CONFUSABLE] == [True] + [False] * (len(CONFUSABLE) - 1)

    # -- read

    @capability("read")
    def test_ranges_and_kinds(self, store: Any) -> None:
        header = Header(session_id="s")
        for index in range(300):
            header = commit(store, header, say(f"m{index}", pad="x" * 200), Draft("note", {"n": index}))
        for start, stop in ((0, 600), (0, 0), (5, 5), (7, 3), (598, 700), (600, 700), (299, 303), (0, 1)):
            assert [e.position for e in store.read("s", start, stop)] == list(range(start, min(stop, 600)))
        assert [e.body["n"] for e in store.read("s", 101, 106, "note")] == [50, 51, 52]
        assert [e.body["content"] for e in store.read("s", 597, 600, "message")] == ["m299"]
        assert store.read("s", 0, 600, "unheard-of") == []

    # -- find

    @capability("find")
    def test_lists_are_filtered_and_newest_first(self, store: Any) -> None:
        for index in range(10):
            status = "archived" if index % 4 == 0 else "active"
            header = Header(
                session_id=f"s{index}",
                user_id=f"u{index % 2}",
                parent="s0" if index in (3, 4) else None,
                root="s0" if index in (3, 4, 5) else "",
            )
            commit(store, header, say("x"), now=float(index), status=status)
        commit(store, Header(session_id="~app"), say("x"), now=99.0)

        def found(**query: Any) -> str:
            return "".join(h.session_id[1:] for h in store.find(Query(**query)).items)

        assert found() == "9876543210"
        assert found(user_id="u1") == "97531"
        assert found(user_id="nobody") == ""
        assert found(status="archived") == "840"
        assert found(parent="s0") == "43"
        assert found(root="s0") == "543"
        assert found(prefix="s1") == "1"
        assert found(prefix="~") == "app"
        assert found(before=4.0) == "3210"
        assert found(after=4.0, before=7.0) == "654"
        assert found(user_id="u0", status="active", limit=2) == "62"

    @capability("find")
    def test_pages_hold_each_session_once_though_times_are_equal(self, store: Any) -> None:
        for index in range(23):
            commit(store, Header(session_id=f"s{index}", user_id="u"), say("x"), now=float(index // 7))
        seen: list[str] = []
        cursor = None
        while True:
            page = store.find(Query(user_id="u", limit=4, cursor=cursor))
            seen += [header.session_id for header in page.items]
            assert len(page.items) <= 4
            cursor = page.cursor
            if cursor is None:
                break
        assert sorted(seen) == sorted(f"s{index}" for index in range(23))
        assert [int(s[1:]) // 7 for s in seen] == sorted((int(s[1:]) // 7 for s in seen), reverse=True)

    # -- delete and close

    @capability("delete")
    def test_a_deleted_session_stays_deleted(self, store: Any, open_store: Callable[[], Any]) -> None:
        header = commit(store, Header(session_id="s", user_id="ann"), say("secret"))
        other = open_store()
        assert other.load("s") == header
        store.delete("s")
        for opened in (store, other, open_store()):
            assert opened.load("s") is None
            assert opened.read("s", 0, 9) == []
            assert opened.find(Query(user_id="ann")).items == []
            if hasattr(opened.store, "search"):
                assert opened.search("secret") == []
        with pytest.raises(Conflict):
            commit(other, header, say("back?"))
        assert store.load("s") is None
        again = commit(other, Header(session_id="s", user_id="bob"), say("new"))
        assert store.load("s") == again
        assert [e.body["content"] for e in store.read("s", 0, 9)] == ["new"]

    @capability("close")
    def test_a_closed_store_says_so(self, open_store: Callable[[], Any]) -> None:
        store = open_store()
        commit(store, Header(session_id="s"), say("x"))
        store.close()
        for method, arguments in (("load", ("s",)), ("read", ("s", 0, 1)), ("find", (Query(),))):
            with pytest.raises(Closed):
                getattr(store, method)(*arguments)
        with pytest.raises(Closed):
            commit(store, Header(session_id="t"), say("x"))
        store.close()

    # -- search

    @capability("search")
    def test_search_finds_what_counts(self, store: Any) -> None:
        from sessile.manager import SessionManager

        manager = SessionManager(store.store)
        for user, text in (("ann", "the quick brown fox"), ("bob", 'a brown bear; don\'t "quote" me*'), ("ann", "grey owl")):
            session = manager.create_session(user)
            session.add_message("user", text)
        assert sorted(hit.message.text[:6] for hit in manager.search("brown")) == ["a brow", "the qu"]
        assert [hit.message.text for hit in manager.search("brown", user_id="ann")] == ["the quick brown fox"]
        assert manager.search("brown owl") == manager.search("unheard-of") == []
        assert len(manager.search('"quote" me*')) <= 1
        session.set_history([("user", "white owl")])
        assert [hit.message.text for hit in manager.search("owl")] == ["white owl"]

    # -- together

    @capability("state machine")
    def test_behaves_like_the_memory_store(self, open_store: Callable[[], Any], pytestconfig: pytest.Config) -> None:
        _run_machine(StoreMachine, open_store, 300 if full(pytestconfig) else 30)

    @capability("state machine")
    def test_sessions_are_what_copies_would_be(self, open_store: Callable[[], Any], pytestconfig: pytest.Config) -> None:
        _run_machine(GraphMachine, open_store, 200 if full(pytestconfig) else 40)

    @capability("conflicts")
    def test_two_stale_handles_commit_at_the_same_instant(self, open_store: Callable[[], Any]) -> None:
        stores = open_store().store, open_store().store
        Session("s", store=stores[0]).add_message("user", "begin")
        for turn in range(20):
            said = self._race(stores, f"r{turn}", "rebase")
            assert said == ["done", "done"]
        with Session("s", store=stores[0]) as session:
            texts = [message.text for message in session.messages]
            assert sorted(texts[1:]) == sorted(f"r{turn}-{side}" for turn in range(20) for side in (0, 1))
            assert [text.split("-")[0] for text in texts[1:]] == [f"r{turn}" for turn in range(20) for _ in (0, 1)]
        for turn in range(20):
            assert sorted(self._race(stores, f"x{turn}", "raise")) == ["conflict", "done"]

    def _race(self, stores: tuple[Any, Any], text: str, on_conflict: str) -> list[str]:
        sessions = [Session("s", store=store, on_conflict=on_conflict) for store in stores]
        start = threading.Barrier(2)
        outcomes = ["", ""]

        def work(side: int) -> None:
            start.wait()
            try:
                sessions[side].add_message("user", f"{text}-{side}")
                outcomes[side] = "done"
            except Conflict:
                outcomes[side] = "conflict"

        threads = [threading.Thread(target=work, args=(side,)) for side in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return outcomes

    @capability("conflicts")
    def test_a_handle_of_a_deleted_session_does_not_bring_it_back(self, store: Any) -> None:
        session = Session("s", store=store.store)
        session.add_message("user", "x")
        store.delete("s")
        with pytest.raises(SessionNotFound):
            session.add_message("user", "back?")
        assert store.load("s") is None

    @capability("many processes")
    def test_many_processes_append_to_one_session(self, store_url: str, pytestconfig: pytest.Config) -> None:
        writers, appends = (8, 250) if full(pytestconfig) else (4, 50)
        processes.many_writers(store_url, "s", writers, appends)

    @capability("many processes")
    def test_processes_that_open_a_new_store_at_once_all_succeed(self, store_url: str) -> None:
        started = [processes.start_writer(store_url, f"s{number}", "n", 1) for number in range(4)]
        for process in started:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors

    @capability("kill -9")
    @pytest.mark.parametrize("batch", [1, 3])
    def test_a_killed_writer_leaves_whole_commits(self, store_url: str, batch: int, pytestconfig: pytest.Config) -> None:
        rng = random.Random(batch)
        rounds = 100 if full(pytestconfig) else 5
        killed = [processes.kill_writer(store_url, f"k{number}", batch, rng) for number in range(rounds)]
        assert sum(killed) >= rounds

    @capability("flat cost")
    def test_an_append_costs_the_same_in_a_long_log(self, store: Any, pytestconfig: pytest.Config) -> None:
        length = 100_000 if full(pytestconfig) else 10_000
        short = Session("short", store=store.store)
        long = Session("long", store=store.store)
        for _ in range(length // 1000):
            long.add_messages([("user", "x" * 100)] * 1000)
        times: dict[str, list[float]] = {"short": [], "long": []}
        for _ in range(150):
            for session in (short, long):
                begin = time.perf_counter()
                session.add_message("user", "x" * 100)
                times[session.session_id].append(time.perf_counter() - begin)
        ratio = statistics.median(times["long"]) / statistics.median(times["short"])
        assert ratio < 2, f"an append to {length} messages took {ratio:.1f} times one to a new session"
        assert len(long.get_history(50)) == 50
