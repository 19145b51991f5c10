"""What each of a store's six methods promises, by examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessile.errors import Closed, Conflict
from sessile.log import Change, Draft, Entry, Header, stamp
from sessile.store import Query
from sessile.testing.fixtures import CONFUSABLE, StoreFixtures, capability, commit, say


class WaistTests(StoreFixtures):
    """One test or more for each method and capability."""

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
        assert [hit.message.text[:6] for hit in manager.search('"quote" me*')] == ["a brow"]
        session.set_history([("user", "white owl")])
        assert [hit.message.text for hit in manager.search("owl")] == ["white owl"]
