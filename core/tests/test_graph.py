"""Snapshots, reverts, forks and merges."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.faces import FACES, opener

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session, SessionManager, Turn, tool
from sessile.drive.faces import Blocking
from sessile.errors import AccessDenied, Closed, Conflict, InvalidInput, SessionExists, SessionNotFound, UnsafeFile
from sessile.log.encoding import to_json
from sessile.log.header import Header
from sessile.log.stamping import Change, stamp
from sessile.session.hierarchy import HierarchicalSessionStore
from sessile.store.waist import Query
from sessile.testing.waist.deleting import Cut, CutStore
from sessile.transfer.files import checked, lines_between, write_lines


@pytest.fixture
def new() -> Callable[[str], Session]:
    store = MemorySessionStore()
    return lambda session_id, **options: Session(session_id, store=store, **options)


def texts(session: Session) -> str:
    return " ".join(message.content for message in session.messages)


def nothing_left(store: Any) -> bool:
    """Has a store no log and no header, not even a record of its own?"""
    queries = [Query(prefix=prefix, status=status) for prefix in ("", "~") for status in (None, "pending", "deleted")]
    return not store.logs() and not any(store.find(query).items for query in queries)


def say(session: Session, *words: str) -> None:
    for word in words:
        session.add_message("user", word)


def test_a_revert_destroys_nothing_and_can_be_reverted(new: Callable[..., Session]) -> None:
    session = new("s")
    say(session, "a", "b")
    session.set_state("k", 1)
    point = session.snapshot("here", {"why": "test"})
    say(session, "c", "d")
    session.set_state("k", 2)
    back = session.revert(point)
    assert (texts(session), session.message_count, session.state) == ("a b", 2, {"k": 1})
    say(session, "e")
    assert texts(session) == "a b e"
    assert [m.content for m in session.get_history(2)] == ["b", "e"]
    session.revert(back)
    assert (texts(session), session.message_count, session.state) == ("a b c d", 4, {"k": 2})
    session.revert("here")
    assert texts(session) == "a b"
    assert [s.label for s in session.snapshots()][:2] == ["here", "before revert"]
    assert (point.label, point.metadata, point.count) == ("here", {"why": "test"}, 2)
    assert session.verify()


def test_points_by_number_and_message(new: Callable[..., Session]) -> None:
    session = new("s")
    for n in range(20):
        session.set_state("n", {"value": n, "pad": "x" * (3000 if n % 3 else 1)})
        say(session, str(n))
    for count in (20, 19, 7, 1, 0):
        copy = session.fork(count)
        assert [m.content for m in copy.messages] == [str(n) for n in range(count)]
        assert copy.get_state("n", {"value": None})["value"] == (count - 1 if count else None)
        assert copy.verify()
    assert session.fork(-5).message_count == 15
    assert session.fork(session.messages[3]).message_count == 4


def test_a_point_never_separates_a_call_from_its_results(new: Callable[..., Session]) -> None:
    session = new("s")
    calls = [{"id": "c1", "name": "f", "arguments": {}}, {"id": "c2", "name": "f", "arguments": {}}]
    session.add_messages(
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": calls},
            {"role": "tool", "content": "1", "tool_call_id": "c1"},
            {"role": "tool", "content": "2", "tool_call_id": "c2"},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "tool_calls": [{"id": "c3", "name": "f", "arguments": {}}]},
        ]
    )
    assert [session.fork(count).message_count for count in range(7)] == [0, 1, 4, 4, 4, 5, 6]
    assert session.fork(session.messages[1]).message_count == 4
    session.revert(2)
    assert [m.role for m in session.messages] == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize("face", FACES)
def test_counted_from_the_end_a_point_is_before_a_call_not_behind_its_results(face: str) -> None:
    call = {"role": "assistant", "tool_calls": [{"id": f"c{n}", "name": "f", "arguments": {}} for n in (1, 2)]}
    results = [{"role": "tool", "content": f"{n}", "tool_call_id": f"c{n}"} for n in (1, 2)]
    said = [("user", "q"), call, *results]
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=MemorySessionStore())
    session.add_messages([*said, ("assistant", "a")])
    counts = [session.fork(-back).message_count for back in range(1, 6)]
    assert counts == [4, 1, 1, 1, 0]
    session.revert(-1)
    back = session.revert(-1)  # the last message is a result
    assert [m.role for m in session.messages] == ["user"]
    session.revert(back)
    session.revert(3)  # from the beginning: behind the results
    assert session.message_count == 4
    session.set_history(said[:3])  # one result is missing
    session.revert(-1)
    assert session.message_count == 1
    session.set_history([call])
    session.revert(-1)
    assert session.messages == []
    alone = opener(face, loop)("alone", store=MemorySessionStore())
    alone.add_messages([call, *results])
    alone.revert(-1)
    assert alone.message_count == 0
    loop.close()


@pytest.mark.parametrize("face", FACES)
def test_the_state_goes_back_with_a_revert_and_stays_with_a_new_history(face: str) -> None:
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=MemorySessionStore())
    session.set_state("before", 1)
    for n in (1, 2):
        session.add_message("user", f"{n}")
        session.set_state("n", n)
    session.set_state("user:kept", 1)
    session.set_state("temp:kept", 1)
    shared = {"user:kept": 1, "temp:kept": 1}
    session.set_history([("user", "other"), ("user", "and more")])
    assert session.state == {"before": 1, "n": 2, **shared}
    point = session.revert(1)
    assert session.state == {"before": 1, "n": 2, **shared}
    session.revert(0)
    assert session.state == shared  # nothing that was said before counts, and no state is the session's own
    session.revert(point)
    session.set_history([])
    assert session.state == {"before": 1, "n": 2, **shared}
    session.add_message("user", "a")
    assert session.fork(0).state == {"user:kept": 1}
    loop.close()


def test_forks_of_forks_share_what_was_said(new: Callable[..., Session]) -> None:
    root = new("root", user_id="ann", metadata={"m": 1})
    say(root, "a", "b", "c")
    root.set_state("k", 1)
    child = root.fork(2, "child", title="T", metadata={"x": 1})
    say(root, "only root")
    say(child, "d")
    child.set_state("k", 2)
    grandchild = child.fork(session_id="grandchild")
    child.revert(1)
    say(grandchild, "e")
    assert (texts(root), texts(child), texts(grandchild)) == ("a b c only root", "a", "a b d e")
    assert (root.state, child.state, grandchild.state) == ({"k": 1}, {}, {"k": 2})
    assert (child.title, child.metadata, child.user_id, child.message_count) == ("T", {"x": 1}, "ann", 1)
    assert [m.content for m in new("grandchild").get_history(3)] == ["b", "d", "e"]
    assert grandchild.verify().entries > 4
    assert grandchild.store.load("grandchild").parent == child.store.load("child").log
    say(child, "f")
    assert texts(child) == "a f"


def test_a_fork_writes_one_entry(new: Callable[..., Session]) -> None:
    root = new("root")
    root.add_messages([("user", "x")] * 5000)
    child = root.fork()
    assert (child.store.load(child.session_id).head, child.message_count) == (1, 5000)


def test_merging_brings_both_sides_together_once(new: Callable[..., Session]) -> None:
    ours = new("ours")
    say(ours, "a", "b")
    ours.set_state({"same": 0, "mine": 0, "both": 0, "gone": 0})
    theirs = ours.fork(session_id="theirs")
    say(ours, "c")
    say(theirs, "d")
    say(ours, "e")
    ours.set_state("mine", 1)
    ours.set_state("both", 1)
    theirs.set_state("both", 2)
    theirs.set_state("new", 3)
    theirs.delete_state("gone")
    merged = ours.merge(theirs, session_id="merged", title="M")
    assert (texts(merged), merged.message_count, merged.title) == ("a b c d e", 5, "M")
    assert merged.state == {"same": 0, "mine": 1, "both": 1, "new": 3}
    assert (texts(ours), texts(theirs)) == ("a b c e", "a b d")
    assert ours.merge(theirs, policy="theirs").get_state("both") == 2
    assert ours.merge(theirs, policy=lambda key, a, b: [a, b]).get_state("both") == [1, 2]
    with pytest.raises(Conflict, match="state key 'both' was set to 2 by somebody else while you set it to 1"):
        ours.merge(theirs, policy="raise")
    assert merged.verify()
    stranger = new("stranger")
    say(stranger, "z")
    assert texts(ours.merge(stranger)) == "a b c e z"


def test_a_turn_that_went_on_after_a_merge_is_whole_in_the_next(new: Callable[..., Session]) -> None:
    class Model:
        def generate(self, request: Request) -> Any:
            if request.messages[-1]["role"] == "tool":
                return "late reply"
            return {"tool_calls": [{"id": "1", "name": "merging", "arguments": {}}]}

    merged: list[Session] = []

    @tool
    def merging() -> str:
        """Merge in the middle of the turn."""
        merged.append(ours.merge(new("theirs")))
        return "result"

    ours = new("ours")
    say(ours, "hi")
    theirs = ours.fork(session_id="theirs")
    theirs.agent = Agent("a", model=Model(), tools=[merging])
    theirs.chat("question")
    say(theirs, "and more")
    (first,) = merged
    say(first, "said in between")
    assert not any(m.text == "late reply" for m in first.messages)
    for _ in range(2):  # merged once more, it gets nothing twice
        first = first.merge(theirs)
        said = [m.text for m in first.messages if m.text]
        assert said == ["hi", "question", "result", "late reply", "and more", "said in between"]
        assert [m for m in first.messages if m.open] == []
        assert first.verify()


def test_a_reply_that_was_made_the_whole_history_is_merged_with_its_question() -> None:
    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"))
    session.chat("question")
    fork = session.fork()
    session.set_history(session.messages[1:])
    assert sorted(said.role for said in session.merge(fork).messages) == ["assistant", "user"]


def test_histories_set_by_many_tasks_at_once_stay_sound() -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            jobs = [session.set_history([("user", f"{n}"), ("user", "x")]) for n in range(8)]
            await asyncio.gather(*jobs, *[session.add_message("user", "added") for _ in range(8)])
            assert await session.verify()
            said = [m.content for m in await session.messages]
            assert said[1] == "x"
            assert await session.message_count == len(said)

    asyncio.run(main())


def test_turns_are_undone_and_redone() -> None:
    session = Session("s", store=MemorySessionStore(), agent=Agent(model="echo"))
    for text in "abc":
        session.chat(text)
        session.set_state("last", text)
    session.undo()
    assert (texts(session), session.state) == ("a a b b", {"last": "b"})
    session.undo()
    assert (texts(session), session.state, session.message_count) == ("a a", {"last": "a"}, 2)
    session.redo()
    assert texts(session) == "a a b b"
    session.redo()
    assert (texts(session), session.state) == ("a a b b c c", {"last": "c"})
    with pytest.raises(InvalidInput, match="nothing to redo"):
        session.redo()
    session.undo()
    session.chat("d")
    with pytest.raises(InvalidInput, match="nothing to redo"):
        session.redo()
    for _ in range(3):
        session.undo()
    assert (session.messages, session.message_count, session.state) == ([], 0, {})
    with pytest.raises(InvalidInput, match="no turn to undo"):
        session.undo()
    session.chat("e")
    assert texts(session) == "e e"
    assert session.verify()


def test_undo_and_regenerate_find_the_last_turn_however_much_a_handle_has_read() -> None:
    store = MemorySessionStore()
    first = Session("s", store=store)
    say(first, "earlier", "asked")
    first.add_messages([("assistant", str(n)) for n in range(600)])
    for read in (lambda s: None, lambda s: s.get_history(1), lambda s: s.messages):
        session = Session("s", store=store, agent=Agent(model="echo"))
        read(session)
        assert texts(session.regenerate()) == "earlier asked asked"
        session.undo()
        assert texts(session) == "earlier"
        session.redo()
        assert session.message_count == 602
    unasked = Session("unasked", store=store)
    unasked.add_messages([("assistant", "a"), ("assistant", "b")])
    Session("unasked", store=store).undo()
    assert unasked.messages == []


def test_editing_and_answering_anew_are_forks() -> None:
    class Counting:
        count = 0

        def generate(self, request: Request) -> str:
            self.count += 1
            return f"{request.messages[-1].content}#{self.count}"

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Counting()))
    session.chat("a")
    session.chat("b", metadata={"mood": "good"})
    before = session.store.load("s")
    edited = session.edit(session.messages[2], "c")
    assert texts(edited) == "a a#1 c c#3"
    assert edited.messages[2].metadata == {"mood": "good"}
    assert texts(session.edit(session.messages[1].id, "quiet")) == "a quiet"
    assert texts(session.regenerate()) == "a a#1 b b#4"
    assert session.store.load("s") == before
    with pytest.raises(InvalidInput, match="is not in the current history"):
        session.edit("nothing", "x")
    with pytest.raises(InvalidInput, match="no turn to answer"):
        Session("empty", store=session.store).regenerate()


class Unwilling:
    def generate(self, request: Any) -> str:
        raise ConnectionError("the model does not answer")


@pytest.mark.parametrize("face", FACES)
def test_an_edit_that_is_not_answered_leaves_no_fork(face: str) -> None:
    store, loop = MemorySessionStore(), asyncio.new_event_loop()
    session = opener(face, loop)("s", store=store, agent=Agent(model=Unwilling()))
    session.add_messages([("user", "a"), ("assistant", "b")])
    for again in (lambda: session.edit(session.messages[0], "c"), session.regenerate):
        with pytest.raises(ConnectionError):
            again()
        assert [header.session_id for header in SessionManager(store).list()] == ["s"]
        assert store.logs() == [session.to_dict()["header"]["log"]]
    loop.close()


def test_the_tree_of_forks(new: Callable[..., Session]) -> None:
    root = new("root")
    say(root, "a")
    one, two = root.fork(session_id="one", title="One"), root.fork(session_id="two")
    one.fork(session_id="deep")
    assert (root.parent, one.parent) == (None, "root")
    assert {header.session_id for header in root.children()} == {"one", "two"}
    for session in (root, two, new("deep")):
        tree = session.tree()
        assert (tree["session_id"], tree["message_count"]) == ("root", 1)
        assert [child["session_id"] for child in tree["children"]] == ["one", "two"]
        assert [child["session_id"] for child in tree["children"][0]["children"]] == ["deep"]
        assert tree["children"][0]["title"] == "One"


def test_differences(new: Callable[..., Session]) -> None:
    session = new("s")
    say(session, "a", "b")
    session.set_state("k", 1)
    point = session.snapshot()
    say(session, "c")
    session.set_state("k", 2)
    other = session.fork(point)
    say(other, "d")
    diff = session.diff(point)
    assert (diff.shared, [m.content for m in diff.a], [m.content for m in diff.b]) == (2, [], ["c"])
    assert diff.state == {"k": (1, 2)}
    diff = session.diff(session, other)
    assert (diff.shared, [m.content for m in diff.a], [m.content for m in diff.b]) == (2, ["c"], ["d"])
    assert session.diff(3).a == session.diff(3).b == []


def test_bad_points_write_nothing(new: Callable[..., Session]) -> None:
    session, other = new("s"), new("o")
    say(session, "a")
    say(other, "b")
    theirs = other.snapshot("x")
    child = session.fork(session_id="child")
    later = session.snapshot("later")
    with pytest.raises(InvalidInput, match="is of session 's', not of 'child'"):
        child.revert(later)
    before = session.store.load("s")
    for point in (2, -2, "nowhere", theirs, other.messages[0], 1.5, None):
        with pytest.raises(InvalidInput):
            session.revert(point)
    with pytest.raises(InvalidInput):
        session.fork(9, "f")
    with pytest.raises(SessionExists):
        session.fork(session_id="o")
    with pytest.raises(InvalidInput, match="pass another session"):
        session.merge(session)
    with pytest.raises(AccessDenied):
        session.merge(new("b", user_id="bob"))
    assert session.store.load("s") == before
    assert session.store.load("f") is None


def test_forks_keep_what_they_inherited_from_a_deleted_session(new: Callable[..., Session]) -> None:
    root = new("root", user_id="ada")
    say(root, "a", "b")
    root.set_state("k", 1)
    root.snapshot("kept")
    say(root, "c", "not inherited")
    root.snapshot("later")
    child = root.fork(3, "child")
    say(child, "d")
    grandchild = child.fork(session_id="grandchild")
    back = grandchild.revert(1)
    other = root.fork(1, "other")
    assert child.diff(other).shared == 1
    root.delete()
    with pytest.raises(SessionNotFound):
        root.get_history()
    manager = SessionManager(child.store)
    assert {header.session_id for header in manager.each()} == {"child", "grandchild", "other"}
    assert not manager.exists("root")
    assert manager.get_session("root") is None
    again = new("root", user_id="bob")  # a new one of the same name is no kin of theirs
    say(again, "z")
    assert again.tree()["children"] == []
    assert again.snapshots() == []
    assert (texts(child), texts(new("child")), texts(grandchild), texts(other)) == ("a b c d", "a b c d", "a", "a")
    assert child.diff(other).shared == 1
    grandchild.revert(back)
    assert texts(grandchild) == "a b c d"
    child.delete()
    assert grandchild.revert("kept")
    assert (texts(grandchild), grandchild.state) == ("a b", {"k": 1})
    assert [s.label for s in grandchild.snapshots()][:1] == ["kept"]
    assert (grandchild.parent, grandchild.tree()["children"], other.parent) == (None, [], None)
    assert texts(grandchild.merge(other)) == "a b"
    assert grandchild.verify()
    assert other.verify()
    again.delete()
    assert texts(grandchild.fork(session_id="root")) == "a b"


def test_what_no_fork_is_left_of_goes(new: Callable[..., Session]) -> None:
    root = new("root")
    say(root, "a", "secret")
    child = root.fork(1, "child")
    grandchild = child.fork(session_id="grandchild")
    store = root.store
    root.delete()
    child.delete()
    assert [[e.body.get("content") for e in store.entries(log)] for log in store.logs()] == [["a"], [None], [None]]
    assert texts(grandchild) == "a"
    grandchild.delete()
    assert nothing_left(store)


def test_deleting_all_that_was_forked(new: Callable[..., Session]) -> None:
    root = new("root")
    say(root, "a")
    middle = root.fork(session_id="child")
    middle.fork(session_id="grandchild").fork(session_id="last")
    middle.delete()
    manager = SessionManager(root.store)
    assert [header.session_id for header in root.children()] == ["grandchild"]
    assert root.tree()["children"][0]["session_id"] == "grandchild"
    assert new("grandchild").parent == "root"
    assert manager.delete("root", cascade=True)
    assert nothing_left(root.store)
    for clear in (lambda: manager.delete_inactive(days=0), manager.clear_all):
        root = new("anew")
        say(root, "b")
        root.fork()
        assert clear() == 2
        assert nothing_left(root.store)


def test_what_was_cut_short_long_ago_is_swept(new: Callable[..., Session]) -> None:
    root = new("root")
    say(root, "a")
    child = root.fork(session_id="child")
    store, manager = root.store, SessionManager(root.store)
    for age in (0, 7200):  # seconds: what was begun just now may still be going on
        for session_id, status in (("root", "deleted"), ("lost", "pending")):
            header = store.load(session_id) or Header(session_id=session_id, log=f"log.{session_id}")
            entries, changes = stamp(header, Change(fields={"status": status}), time.time() - age)
            store.commit(session_id, expected=header.version, entries=entries, changes=changes)
        assert manager.sweep() == (2 if age else 0)
    assert [header.session_id for header in manager.list()] == ["child"]
    assert manager.sweep(repair=True) == 2
    assert manager.sweep() == 0
    assert store.load("root") is None
    assert store.load("lost") is None
    assert texts(child) == "a"


def test_a_broken_session_can_be_deleted(tmp_path: Path) -> None:
    with SessionManager(f"file://{tmp_path}") as manager:
        root = manager.create_session(session_id="root")
        say(root, "a")
        (tmp_path / "root" / "log.jsonl").write_text("no entry\n")
    with SessionManager(f"file://{tmp_path}") as manager:
        assert manager.delete("root")
        assert [*manager.each()] == []
        assert not manager.exists("root")
        say(manager.create_session(session_id="root"), "b")


@pytest.mark.parametrize("scheme", ["file", "sqlite"])
def test_a_record_of_heirs_that_cannot_be_read_harms_no_session(tmp_path: Path, scheme: str) -> None:
    url = f"file://{tmp_path}" if scheme == "file" else f"sqlite:///{tmp_path}/x.db"
    with SessionManager(url) as manager:
        parent = manager.create_session(session_id="p")
        say(parent, "a")
        parent.fork(session_id="f").close()
        (record,) = manager.store.find(Query(prefix="~heirs:")).items
    if scheme == "file":
        (folder,) = (path for path in tmp_path.iterdir() if "heirs" in path.name)
        for path in folder.iterdir():
            path.write_text("no record\n")
    else:
        with closing(sqlite3.connect(tmp_path / "x.db")) as db, db:
            changed = "UPDATE sessions_details SET body = 'none' WHERE key = (SELECT key FROM sessions WHERE session_id = ?)"
            assert db.execute(changed, (record.session_id,)).rowcount == 1
    with SessionManager(url) as manager:
        manager.delete("p")
        manager.sweep(repair=True, older_than=0)
        with manager.get_session("f") as fork:
            assert texts(fork) == "a", "who inherits is not known: all of it stays"
        say(manager.create_session(session_id="p"), "b")
        assert manager.delete("f")
        assert [header.session_id for header in manager.each()] == ["p"]


def test_an_export_is_the_whole_session(new: Callable[..., Session], tmp_path: Path) -> None:
    root = new("root", user_id="ada")
    say(root, "a", "b")
    root.snapshot("two")
    say(root, "not inherited")
    middle = root.fork("two", "middle")
    say(middle, *map(str, range(600)))
    root.delete()
    child = middle.fork(5, "child", title="T", metadata={"m": 1})
    child.set_state("k", 1)
    back = child.revert(1)
    steps: list[tuple[int, int]] = []
    path = child.export(tmp_path / "deep" / "child.jsonl", progress=lambda done, total: steps.append((done, total)))
    assert "not inherited" not in path.read_text()
    assert steps[-1] == (11, 11)
    store = MemorySessionStore()
    manager = SessionManager(store)
    first = manager.import_session(path)
    second = manager.import_session(path, "other", user_id="bob")
    for copy, user in ((first, "ada"), (second, "bob")):
        assert (copy.user_id, copy.title, copy.metadata, copy.state, texts(copy)) == (user, "T", {"m": 1}, {}, "a")
        assert (copy.parent, copy.tree()["session_id"], copy.created_at) == (None, copy.session_id, child.created_at)
        assert copy.verify()
        assert [s.id for s in copy.snapshots()] == [s.id for s in child.snapshots()]
        copy.revert(back)
        assert (texts(copy), copy.state) == ("a b 0 1 2", {"k": 1})
        say(copy, "on")
        copy.snapshot("here")
        fork = copy.fork(6)
        again = Session.load(fork.export(tmp_path / "again.jsonl"), store=MemorySessionStore())
        copy.delete()
        for one in (fork, again):
            assert texts(one) == "a b 0 1 2 on"
            one.revert("two")
            assert texts(one) == "a b"
            assert one.verify()
        fork.delete()
    assert nothing_left(store)
    with pytest.raises(SessionExists, match="import under another session_id"):
        Session.load(path, store=child.store)
    assert texts(Session.load(child.export(tmp_path / "flat", lineage="resolved"), store=MemorySessionStore())) == "a"
    with pytest.raises(InvalidInput, match="'kept' or 'resolved'"):
        child.export(path, lineage="none")


def test_a_file_that_is_refused_leaves_no_store_open(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    with Session("s", store=url) as session:
        say(session, "a")
        path = session.export(tmp_path / "s.jsonl")
        with pytest.raises(SessionExists):
            Session.load(path, store=url)
        kept = session.store
    with pytest.raises(Closed):  # nobody else has it
        kept.load("s")


def test_an_import_that_is_cut_short_leaves_nothing(new: Callable[..., Session], tmp_path: Path) -> None:
    root = new("root")
    say(root, *map(str, range(300)))
    path = root.fork(session_id="child").export(tmp_path / "child.jsonl")
    calls = 0
    done = False
    while not done:
        store = MemorySessionStore()
        calls += 1
        try:
            SessionManager(CutStore(store, calls, after=False)).import_session(path)
            done = True
        except Cut:
            pass
        found = [*SessionManager(store).each()]
        assert found or not done
        assert Session("child", store=store).message_count == (300 if found else 0)
        SessionManager(store).sweep(repair=True, older_than=0)
        assert found or nothing_left(store)
    assert calls > 5


def test_tampering_shows(new: Callable[..., Session]) -> None:
    session = new("s")
    say(session, "a", "b", "c")
    logs = session.store._kept.logs  # as somebody with a hand in the store would
    name = session.store.load("s").log
    log = logs[name]
    original = log[1]
    log[1] = type(original).from_dict(
        {"position": 1, "kind": "message", "id": original.id, "time": 0.0, "body": {}, "prev": original.prev}
    )
    assert session.verify().problem == f"entry 2 of log {name!r} was altered, or the one before it"
    log[1] = original
    assert session.verify()
    del log[2]
    assert not session.verify()
    parent, other = new("t"), new("o")
    say(parent, "a")
    say(other, "b")
    child = parent.fork()
    assert child.verify()
    logs[session.store.load("t").log][0] = logs[session.store.load("o").log][0]
    assert child.verify().problem.startswith("entry 0 at depth 0 is not the one that was inherited")


def test_the_async_face(new: Callable[..., Session]) -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            await session.add_message("user", "a")
            point = await session.snapshot("p")
            await session.add_message("user", "b")
            fork = await session.fork()
            await fork.add_message("user", "c")
            await session.revert(point)
            merged = await session.merge(fork)
            assert isinstance(fork, AsyncSession)
            assert [m.content for m in await merged.messages] == ["a", "b", "c"]
            assert await merged.verify()

    asyncio.run(main())


def test_a_fork_outlives_the_handle_it_came_from(tmp_path: Path) -> None:
    root = Session("root", store=f"sqlite:///{tmp_path}/x.db")
    say(root, "a")
    child = root.fork()
    root.close()
    say(child, "b")
    assert texts(child) == "a b"
    child.close()
    with pytest.raises(Closed):
        child.store.load("root")


def test_automatic_snapshots() -> None:
    class Wishes:
        def want_snapshot(self, turn: Turn) -> str | None:
            return "wish" if turn.message.content == "keep this" else None

    class Deleting:
        def generate(self, request: Request) -> Any:
            if request.messages[-1].content == "delete it":
                return {"tool_calls": [{"id": "1", "name": "wipe", "arguments": {}}]}
            return "done"

    @tool(risky=True)
    def wipe() -> str:
        return "wiped"

    agent = Agent(model=Deleting(), tools=[wipe])
    options = {"agent": agent, "checkpoint_interval": 2, "plugins": [Wishes()]}
    session = Session("s", store=MemorySessionStore(), **options, checkpoint_keep=4)
    for text in ("a", "keep this", "delete it", "b"):
        session.chat(text)
    assert [s.label for s in session.snapshots()] == ["after 2 turns", "wish", "before wipe", "after 4 turns"]
    assert [s.label for s in session.fork(4).checkpoints()] == []
    assert [s.label for s in session.fork("before wipe").checkpoints()] == ["after 2 turns", "wish", "before wipe"]
    session.create_checkpoint("asked")
    for _ in range(4):
        session.chat("c")
    kept = [s.label for s in session.checkpoints()]
    assert kept == ["before wipe", "after 4 turns", "asked", "after 6 turns", "after 8 turns"]
    with pytest.raises(InvalidInput, match="has no snapshot 'wish'"):
        session.revert("wish")
    session.revert("before wipe")
    assert [m.content for m in session.messages] == ["a", "done", "keep this", "done", "delete it"]
    assert session.verify()


@pytest.mark.parametrize("face", FACES)
def test_automatic_snapshots_are_made_though_each_turn_has_a_handle_of_its_own(face: str) -> None:
    store = MemorySessionStore()
    loop = asyncio.new_event_loop()
    options = {"store": store, "agent": Agent(model="echo"), "checkpoint_interval": 3}
    for number in range(7):
        session = opener(face, loop)("s", **options)
        session.chat(str(number))
        session.close()
    labels = [(s.label, s.count) for s in Session("s", store=store).snapshots()]
    assert labels == [("after 3 turns", 6), ("after 6 turns", 12)]
    loop.close()


class Together(MemorySessionStore):
    """Right before its next commit, something else happens."""

    def __init__(self) -> None:
        super().__init__()
        self.first: list[Callable[[], object]] = []

    def commit(self, session_id: str, **how: Any) -> None:
        while self.first:
            self.first.pop()()
        super().commit(session_id, **how)


def test_two_versions_never_have_one_number() -> None:
    store = Together()
    one, other = Session("s", store=store), Session("s", store=store)
    one.set_state("k", "one")
    store.first.append(lambda: other.save_version("the other's"))
    assert one.save_version("mine") == 1
    assert [(v["version"], v["description"]) for v in one.list_versions()] == [(0, "the other's"), (1, "mine")]


def test_a_version_of_a_fork_has_a_number_that_no_inherited_one_has(new: Callable[..., Session]) -> None:
    session = new("s")
    session.set_state("k", 1)
    assert [session.save_version(), session.save_version()] == [0, 1]
    session.revert(session.snapshots()[0])
    assert session.save_version() == 2
    fork = session.fork()
    assert fork.save_version() == 3


def test_versions_and_checkpoints_by_their_other_names(new: Callable[..., Session]) -> None:
    session = new("s")
    session.set_state("k", 1)
    assert session.save_version("first") == 0
    session.set_state("k", 2)
    assert session.save_version("second") == 1
    assert session.restore_version(0)
    assert session.state == {"k": 1}
    assert not session.restore_version(7)
    listed = session.list_versions()
    assert [(v["version"], v["description"]) for v in listed] == [(0, "first"), (1, "second")]
    assert listed[0]["timestamp"] <= listed[1]["timestamp"]
    branch_point = session.create_checkpoint()
    say(session, "approach A")
    session.restore_checkpoint(branch_point)
    say(session, "approach B")
    assert texts(session) == "approach B"
    other = session.fork(branch_point)
    say(other, "approach C")
    assert session.merge_sessions(other).session_id == "s_merged"
    assert texts(new("s_merged")) == "approach B approach C"


def test_the_hierarchical_store(tmp_path: Path) -> None:
    store = HierarchicalSessionStore(session_dir=tmp_path)
    main = store.create_session(title="Main Conversation")
    for text in ("Let's discuss Python", "And Rust", "And C"):
        store.add_message(main, "user", text)
    safe = store.create_snapshot(main, label="Safe point")
    fork = store.fork_session(main, from_message_index=1, title="Alternative approach")
    assert [m["content"] for m in store.get_chat_history(fork)] == ["Let's discuss Python", "And Rust"]
    store.add_message(main, "user", "risky")
    assert store.revert_to_snapshot(main, safe)
    assert len(store.get_chat_history(main)) == 3
    assert store.revert_to_message(main, 0)
    assert [m["content"] for m in store.get_chat_history(main)] == ["Let's discuss Python"]
    assert (store.get_children(main), store.get_parent(fork), store.get_parent(main)) == ([fork], main, None)
    assert [child["session_id"] for child in store.get_session_tree(fork)["children"]] == [fork]
    assert "Safe point" in [s["label"] for s in store.get_snapshots(main)]
    assert store.get_title(fork) == "Alternative approach"
    store.set_title(fork, "T")
    store.share_session(fork)
    assert (store.is_shared(fork), store.is_shared(main)) == (True, False)
    store.unshare_session(fork)
    exported = json.loads(json.dumps(store.export_session(fork)))
    copy = store.import_session(exported, session_id="copy")
    assert store.get_chat_history(copy) == store.get_chat_history(fork)
    assert (store.get_title(copy), store.is_shared(copy)) == ("T", False)
    for index in (-1, 1, 99):
        with pytest.raises(ValueError, match="Invalid message index"):
            store.revert_to_message(main, index)
    with pytest.raises(SessionNotFound):
        store.fork_session("nobody")
    with pytest.raises(InvalidInput):
        store.import_session({})
    with pytest.raises(SessionExists):
        store.import_session(exported)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data["entries"].pop(),
        lambda data: data["entries"].pop(1),
        lambda data: data["entries"].reverse(),
        lambda data: data["entries"][1]["body"].update(content="forged"),
        lambda data: data["entries"][-1]["body"].update(content="forged"),
        lambda data: data["inherited"][0][0]["body"].update(content="forged"),
        lambda data: data["inherited"][0].pop(),
    ],
)
def test_a_dict_that_was_cut_or_altered_is_refused(new: Callable[..., Session], damage: Callable[[Any], Any]) -> None:
    parent = new("parent")
    say(parent, "a", "b")
    fork = parent.fork()
    say(fork, "c", "d", "e")
    data = fork.to_dict()
    assert texts(Session.from_dict(data)) == "a b c d e"
    damage(data)
    with pytest.raises(InvalidInput, match="was cut or altered"):
        Session.from_dict(data)


@pytest.mark.parametrize("face", FACES)
def test_sessions_are_merged_and_compared_whatever_their_face_and_in_one_store_only(face: str) -> None:
    store, loop = MemorySessionStore(), asyncio.new_event_loop()
    first = opener(face, loop)("a", store=store)
    first.add_message("user", "a")
    for other in (Session("b", store=store), AsyncSession("c", store=store)):
        Session(other.session_id, store=store).add_message("user", "b")
        assert [said.content for said in first.merge(other).messages] == ["a", "b"]
        assert [said.content for said in first.diff(other).a] == ["b"]
    elsewhere = Session.from_dict(first.to_dict())
    hers = Session("hers", user_id="ann", store=store)
    hers.add_message("user", "secret")
    for verb in (first.merge, first.diff):
        with pytest.raises(InvalidInput, match="in another store"):
            verb(elsewhere.fork())
        with pytest.raises(AccessDenied):
            verb(hers)
    loop.close()


@pytest.mark.parametrize(
    "lie",
    [
        {"user_id": "~heirs"},
        {"user_id": ""},
        {"status": "deleted"},
        {"status": "odd"},
        {"lineage": [[7, 0, None]]},
        {"mark": [0, 99]},
    ],
)
def test_an_exported_file_whose_header_is_made_up_is_refused(new: Callable[..., Session], tmp_path: Path, lie: Any) -> None:
    say(session := new("s"), "a", "b")
    session.export(tmp_path / "file")
    first, entries = checked(tmp_path / "file"), [to_json(line) for line in lines_between(tmp_path / "file")]
    first["header"].update(lie)

    async def pages() -> Any:
        yield entries

    asyncio.run(write_lines(Blocking(), tmp_path / "file", first, pages()))
    with pytest.raises(UnsafeFile):
        SessionManager(MemorySessionStore()).import_session(tmp_path / "file", "other")


def test_a_merge_differs_from_what_it_was_merged_of_by_the_others_messages() -> None:
    ours = Session("a", store=MemorySessionStore(), agent=Agent(model="echo"))
    ours.chat("1")
    theirs = ours.fork(session_id="b")
    ours.chat("A")
    theirs.chat("B")
    merged = ours.merge(theirs)
    found = merged.diff(theirs, merged)
    assert (found.shared, [m.text for m in found.a], [m.text for m in found.b]) == (2, [], ["A", "A"])
    found = merged.diff(ours, theirs)
    assert (found.shared, [m.text for m in found.a], [m.text for m in found.b]) == (2, ["A", "A"], ["B", "B"])


def test_messages_that_callers_gave_one_id_are_all_merged() -> None:
    store = MemorySessionStore()
    ours, theirs = Session("a", store=store), Session("b", store=store)
    for number in range(2):
        ours.add_message("user", f"a{number}", id=str(number))
        theirs.add_message("user", f"b{number}", id=str(number))
    merged = ours.merge(theirs)
    assert [m.text for m in merged.messages] == ["a0", "b0", "a1", "b1"]
    found = merged.diff(ours, theirs)
    assert ([m.text for m in found.a], [m.text for m in found.b]) == (["a0", "a1"], ["b0", "b1"])
    assert [m.text for m in merged.merge(theirs).messages] == ["a0", "b0", "a1", "b1"]


def test_turns_are_counted_over_handles_with_other_intervals() -> None:
    store = MemorySessionStore()

    @tool(risky=True)
    def drop() -> str:
        """Drop it."""
        return "dropped"

    class Model:
        def generate(self, request: Request) -> Any:
            last = request.messages[-1]
            return {"tool_calls": [{"name": "drop", "arguments": {}}]} if last.text == "drop" else "fine"

    agent = Agent(model=Model(), tools=[drop])
    often, seldom, never = (Session("s", store=store, agent=agent, checkpoint_interval=n) for n in (3, 10, 0))
    for _ in range(7):
        never.chat("hello")
    never.chat("drop")  # the risky tool has a snapshot
    for _ in range(2):
        seldom.chat("hello")
    labels = [point.label for point in often.snapshots()]
    assert labels == ["before drop", "after 10 turns"]
