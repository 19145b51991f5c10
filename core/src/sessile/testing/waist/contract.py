"""What each of a store's seven methods promises, by examples."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessile.conversation.messages import ROLES, from_entry
from sessile.errors import Closed, Conflict, Missing
from sessile.log.entries import MESSAGE, Entry
from sessile.log.stamping import Change, Draft, stamp
from sessile.store.waist import Query
from sessile.testing.fixtures import CONFUSABLE, StoreFixtures, born, capability, commit, say


class WaistTests(StoreFixtures):
    """One test or more for each method and capability."""

    # -- load and commit

    @capability("commit")
    def test_what_is_committed_is_there_for_everybody(self, store: Any, open_driven: Callable[[], Any]) -> None:
        header = commit(store, born("s", user_id="ann", metadata={"k": [1, "ä"]}), say("one"), say("two"))
        header = commit(store, header, Draft("state", {"set": {"a": 1}}), state={"a": 1}, title="T")
        for opened in (open_driven(), store):
            assert opened.load("s") == header
            entries = opened.read(header.log, 0, 3)
            assert [(e.position, e.kind) for e in entries] == [(0, "message"), (1, "message"), (2, "state")]
            assert header.hash == entries[-1].hash
            assert [e.prev for e in entries[1:]] == [e.hash for e in entries[:-1]]

    @capability("commit")
    def test_all_of_a_commit_is_there_in_its_order(self, store: Any, open_driven: Callable[[], Any]) -> None:
        header = born("s")
        told = []
        for size in (1, 2, 3, 7, 100, 500, 2000):
            told += [f"{size}: {index}" for index in range(size)]
            header = commit(store, header, *(say(text) for text in told[-size:]))
            for opened in (open_driven(), store):
                assert [e.body["content"] for e in opened.read(header.log, 0, len(told))] == told

    @capability("commit")
    def test_every_load_returns_what_was_committed_last(self, open_driven: Callable[[], Any]) -> None:
        stores = open_driven(), open_driven()
        header = born("s")
        for index in range(30):
            header = commit(stores[index % 2], header, say(str(index)))
            for opened in stores:
                assert opened.load("s") == header

    @capability("commit")
    def test_an_unknown_session_is_none_and_leaves_no_trace(self, store: Any) -> None:
        assert store.load("nobody") is None
        assert store.read("log.nobody", 0, 0) == []
        with pytest.raises(Missing):
            store.read("log.nobody", 0, 1)
        assert store.find(Query()).items == []
        with pytest.raises(Conflict) as caught:
            store.delete("nobody", expected=7)
        assert caught.value.header is None
        store.prune("log.nobody", 0)
        assert store.find(Query()).items == []

    @capability("commit")
    def test_a_commit_on_another_version_changes_nothing(self, store: Any) -> None:
        first = commit(store, born("s"), say("one"))
        second = commit(store, first, say("two"))
        for stale in (born("s"), first, second.after({"version": 9})):
            with pytest.raises(Conflict) as caught:
                commit(store, stale, say("lost"), title="lost")
            assert caught.value.header == second
        assert store.load("s") == second
        assert [e.body["content"] for e in store.read(second.log, 0, 2)] == ["one", "two"]
        with pytest.raises(Conflict) as caught:
            commit(store, born("other", version=3), say("lost"))
        assert caught.value.header is None
        assert store.load("other") is None

    @capability("commit")
    def test_a_header_changes_without_entries(self, store: Any) -> None:
        header = commit(store, born("s"))
        assert (bool(header.version), header.head) == (True, 0)
        header = commit(store, header, status="archived", metadata={"x": None})
        header = commit(store, header, say("hello"))
        assert store.load("s") == header
        assert header.metadata == {"x": None}

    @capability("commit")
    def test_fields_of_newer_versions_survive(self, store: Any, open_driven: Callable[[], Any]) -> None:
        header = born("s")
        _, changes = stamp(header, Change([say("one")]), 1.0)
        newer = Entry.from_dict({"position": 0, "kind": "message", "id": "i", "time": 1.0, "body": {}, "mood": ["new"]})
        store.commit("s", expected=0, entries=[newer], changes={**changes, "hash": newer.hash, "colour": {"rgb": 1}})
        opened = open_driven()
        assert opened.read(header.log, 0, 1)[0].extra == {"mood": ["new"]}
        assert opened.load("s").extra == {"colour": {"rgb": 1}}

    @capability("isolation")
    def test_ids_that_differ_never_meet(self, store: Any) -> None:
        logs = {name: commit(store, born(name, user_id=name), say(name)).log for name in CONFUSABLE}
        for session_id in CONFUSABLE:
            assert store.load(session_id).user_id == session_id
            assert [e.body["content"] for e in store.read(logs[session_id], 0, 1)] == [session_id]
            assert [h.session_id for h in store.find(Query(user_id=session_id)).items] == [session_id]
        store.delete("user/alice", expected=store.load("user/alice").version)
        assert [store.load(session_id) is None for session_id in CONFUSABLE] == [True] + [False] * (len(CONFUSABLE) - 1)

    @capability("isolation")
    def test_what_find_returns_is_the_callers_own(self, store: Any) -> None:
        header = commit(store, born("s", metadata={"tags": ["a"]}), say("x"))
        for _ in range(2):
            (found,) = store.find(Query())
            assert found.metadata == {"tags": ["a"]}
            found.metadata["tags"].append("b")
            found.state["k"] = 1
        assert store.load("s") == header

    # -- read

    @capability("read")
    def test_ranges_and_kinds(self, store: Any) -> None:
        header = born("s")
        for index in range(300):
            header = commit(store, header, say(f"m{index}", pad="x" * 200), Draft("my.note", {"n": index}))
        log = header.log
        for start, stop in ((0, 600), (0, 0), (5, 5), (7, 3), (598, 600), (600, 600), (299, 303), (0, 1)):
            assert [e.position for e in store.read(log, start, stop)] == list(range(start, stop))
        for start, stop in ((101, 106), (100, 105), (100, 106), (101, 105), (4, 5), (5, 5), (599, 600), (0, 600)):
            odd = [position for position in range(start, stop) if position % 2]
            assert [(e.position, e.body["n"]) for e in store.read(log, start, stop, "my.note")] == [(p, p // 2) for p in odd]
            even = [f"m{position // 2}" for position in range(start, stop) if not position % 2]
            assert [e.body["content"] for e in store.read(log, start, stop, "message")] == even
            assert store.read(log, start, stop, "un.heard") == []
        for start, stop in ((598, 601), (600, 601), (0, 700), (599, 700)):
            for kind in (None, "message", "un.heard"):
                with pytest.raises(Missing):
                    store.read(log, start, stop, kind)

    @capability("read")
    def test_messages_are_those_of_the_entries(self, store: Any) -> None:
        if not hasattr(store.store, "read_messages"):
            return
        bodies: list[dict[str, Any]] = [
            *({"role": role, "content": text} for role in ROLES for text in ("", "x", "ä\u2028" * 300, "z" * 5000)),
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "name": "f", "arguments": {"a": [1, 2.0]}}]},
            {"role": "user", "content": ["a", {"type": "text", "text": "b" * 2000}], "metadata": {"content": "x"}},
        ]
        drafts = [Draft(MESSAGE, body, turn=turn, raw=raw) for body in bodies for turn in (None, "t") for raw in (None, "{}")]
        own = Draft("a.b", {"role": "user", "content": "no message" * 300})
        header = commit(store, born("s"), own, *drafts, own)
        for start, stop in ((0, header.head), (1, header.head - 1), (0, 1), (header.head - 1, header.head), (2, 9)):
            entries = store.read(header.log, start, stop, MESSAGE)
            assert store.read_messages(header.log, start, stop) == [from_entry(entry) for entry in entries]
        assert store.read_messages(header.log, 2, 2) == []
        found = store.read_messages(header.log, 0, header.head)
        found[-1]["content"][1]["text"] = "changed"
        assert store.read_messages(header.log, 0, header.head)[-1]["content"][1]["text"] == "b" * 2000
        for start, stop in ((0, header.head + 1), (header.head, header.head + 1)):
            with pytest.raises(Missing):
                store.read_messages(header.log, start, stop)

    # -- find

    @capability("find")
    def test_lists_are_filtered_and_newest_first(self, store: Any) -> None:
        for index in range(10):
            status = "archived" if index % 4 == 0 else "active"
            header = born(
                f"s{index}",
                user_id=f"u{index % 2}",
                parent="log.s0" if index in (3, 4) else None,
                root="log.s0" if index in (3, 4, 5) else "",
            )
            commit(store, header, say("x"), now=float(index), status=status)
        for index, status in enumerate(("pending", "deleted")):
            commit(store, born(f"x{index}", user_id="u1", root="log.s0"), now=50.0 + index, status=status)
        commit(store, born("~app"), say("x"), now=99.0)

        def found(**query: Any) -> str:
            return "".join(h.session_id[1:] for h in store.find(Query(**query)).items)

        assert found() == "9876543210"
        assert found(user_id="u1") == "97531"
        assert found(user_id="nobody") == ""
        assert found(status="archived") == "840"
        assert found(parent="log.s0") == "43"
        assert found(root="log.s0") == "543"
        assert found(prefix="s1") == "1"
        assert found(prefix="~") == "app"
        assert (found(status="pending"), found(status="deleted")) == ("0", "1")
        assert found(before=4.0) == "3210"
        assert found(after=4.0, before=7.0) == "654"
        assert found(user_id="u0", status="active", limit=2) == "62"

    @capability("find")
    def test_pages_hold_each_session_once_though_times_are_equal(self, store: Any) -> None:
        for index in range(23):
            commit(store, born(f"s{index}", user_id="u", root="log.r"), say("x"), now=float(index // 7))
            commit(store, born(f"t{index}", user_id="v"), say("x"), now=float(index // 7), status="archived")
            commit(store, born(f"u{index}", user_id="v"), now=float(index // 7), status="deleted")
        for query in ({"user_id": "u"}, {"status": "active"}, {"root": "log.r"}, {"prefix": "s"}):
            seen = self._through_pages(store, **query)
            assert sorted(seen) == sorted(f"s{index}" for index in range(23)), query
            assert [int(s[1:]) // 7 for s in seen] == sorted((int(s[1:]) // 7 for s in seen), reverse=True)
        assert sorted(self._through_pages(store)) == sorted(f"{letter}{index}" for letter in "st" for index in range(23))
        assert len(self._through_pages(store, before=2.0, after=1.0)) == 14

    @staticmethod
    def _through_pages(store: Any, **query: Any) -> list[str]:
        seen: list[str] = []
        cursor = None
        while True:
            page = store.find(Query(limit=4, cursor=cursor, **query))
            seen += [header.session_id for header in page.items]
            assert len(page.items) <= 4
            cursor = page.cursor
            if cursor is None:
                return seen

    # -- delete, prune and close

    @capability("delete")
    def test_a_deleted_header_is_gone_for_everybody_and_its_log_is_not(self, store: Any, open_driven: Callable[[], Any]) -> None:
        header = commit(store, born("s", user_id="ann"), say("secret"), say("inherited"))
        other = open_driven()
        assert other.load("s") == header
        store.delete("s", expected=header.version)
        for opened in (store, other, open_driven()):
            assert opened.load("s") is None
            assert opened.find(Query(user_id="ann")).items == []
            assert [e.body["content"] for e in opened.read(header.log, 0, 2)] == ["secret", "inherited"]
        with pytest.raises(Conflict):
            commit(other, header, say("back?"))
        with pytest.raises(Conflict):
            other.delete("s", expected=header.version)
        assert store.load("s") is None

    @capability("delete")
    def test_a_delete_on_another_version_changes_nothing(self, store: Any) -> None:
        first = commit(store, born("s"), say("one"))
        second = commit(store, first, say("two"))
        for expected in (first.version, 0, second.version + 1, None):
            with pytest.raises(Conflict) as caught:
                store.delete("s", expected=expected)
            assert caught.value.header == second
        assert store.load("s") == second

    @capability("delete")
    def test_a_new_session_of_an_id_has_nothing_of_the_one_before(self, store: Any, open_driven: Callable[[], Any]) -> None:
        old = commit(store, born("s", user_id="ann", title="old"), say("a"), say("b"), say("c"))
        other = open_driven()
        other.load("s")
        store.delete("s", expected=old.version)
        new = commit(other, born("s", user_id="bob"), say("new"))
        for opened in (store, other, open_driven()):
            assert opened.load("s") == new
            assert [e.body["content"] for e in opened.read(new.log, 0, 1)] == ["new"]
            assert [e.body["content"] for e in opened.read(old.log, 0, 3)] == ["a", "b", "c"]
            with pytest.raises(Missing):
                opened.read(new.log, 0, 2)
            assert [h.session_id for h in opened.find(Query(user_id="bob"))] == ["s"]
            assert not opened.find(Query(user_id="ann")).items
        store.prune(old.log, 0)
        store.delete("s", expected=new.version)
        assert [e.body["content"] for e in other.read(new.log, 0, 1)] == ["new"]

    @capability("delete")
    def test_what_others_began_anew_is_committed_to(self, store: Any, open_driven: Callable[[], Any]) -> None:
        commit(store, commit(store, born("s"), say("old")), say("older"))
        other = open_driven()
        other.delete("s", expected=other.load("s").version)
        commit(other, born("in between"), say("x"))
        header = commit(other, born("s"), say("new"))
        assert store.load("s") == header
        header = commit(store, header, say("more"))  # Conflict is for another version only
        assert [e.body["content"] for e in other.read(header.log, 0, 2)] == ["new", "more"]

    @capability("prune")
    def test_a_log_is_cut_at_its_end(self, store: Any, open_driven: Callable[[], Any]) -> None:
        header = born("s")
        for index in range(300):  # more than a store may keep together
            header = commit(store, header, say(str(index)))
        kept = commit(store, born("other"), say("kept"))
        header = commit(store, header, status="deleted")
        length = 300
        for keep in (400, 300, 299, 299, 140, 150, 1):
            store.prune(header.log, keep)
            length = min(length, keep)
            for opened in (store, open_driven()):
                assert [e.body["content"] for e in opened.read(header.log, 0, length)] == [str(n) for n in range(length)]
                with pytest.raises(Missing):
                    opened.read(header.log, 0, length + 1)
        store.delete("s", expected=header.version)
        assert [e.body["content"] for e in store.read(header.log, 0, 1)] == ["0"]
        for _ in range(2):
            store.prune(header.log, 0)
            with pytest.raises(Missing):
                store.read(header.log, 0, 1)
        assert [e.body["content"] for e in store.read(kept.log, 0, 1)] == ["kept"]
        assert [*store.logs()] == [kept.log]

    @capability("prune")
    def test_the_logs_there_are_can_be_listed(self, store: Any) -> None:
        names = {commit(store, born(name), say("x")).log for name in (*CONFUSABLE, "~app")}
        gone = commit(store, born("gone"), *(say(str(index)) for index in range(200)))
        store.delete("gone", expected=gone.version)
        assert sorted(store.logs()) == sorted({*names, gone.log})

    @capability("close")
    def test_a_closed_store_says_so(self, open_driven: Callable[[], Any]) -> None:
        store = open_driven()
        commit(store, born("s"), say("x"))
        store.close()
        calls = (("load", ("s",)), ("read", ("log.s", 0, 1)), ("find", (Query(),)), ("prune", ("log.s", 0)))
        for method, arguments in calls:
            with pytest.raises(Closed):
                getattr(store, method)(*arguments)
        with pytest.raises(Closed):
            commit(store, born("t"), say("x"))
        with pytest.raises(Closed):
            store.delete("s", expected=1)
        store.close()
