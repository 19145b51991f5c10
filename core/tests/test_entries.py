"""One commit for all there is, entries of plugins' own, and taking back what was said last, while others speak."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.stores import ALL, Meanwhile, url_of

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session, copy_store
from sessile.errors import Conflict, CorruptStore, InvalidInput, InvalidState, SessileError
from sessile.store import Entry


@pytest.mark.parametrize("kind", ALL)
def test_two_who_take_back_while_others_speak_lose_nothing(kind: str, tmp_path: Path) -> None:
    url, rounds = url_of(kind, tmp_path), 15
    store = Session("s", store=url).store  # one for all, also where its URL names none to share
    added: list[str] = []
    popped: list[str] = []

    def speak(name: str) -> None:
        with Session("s", store=store) as session:
            for number in range(2 * rounds):
                session.add_message("user", f"{name} {number}")
                added.append(f"{name} {number}")

    def take_back() -> None:
        with Session("s", store=store) as session:
            for _ in range(rounds):
                popped.extend(said.content for said in session.pop())

    threads = [threading.Thread(target=speak, args=[name]) for name in "ab"]
    threads += [threading.Thread(target=take_back) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Session("s", store=store) as session:
        left = [said.content for said in session.messages]
        assert session.verify()
    assert sorted([*popped, *left]) == sorted(added)
    for name in "ab":
        assert [text for text in left if text[0] == name] == sorted((t for t in left if t[0] == name), key=added.index)


def test_what_others_say_meanwhile_stays_where_the_tail_is_replaced() -> None:
    store = Meanwhile()
    session = Session("s", store=store)
    session.add_messages([("user", text) for text in "abcd"])
    other = Session("s", store=store)
    store.once = lambda: other.add_message("user", "meanwhile") and None
    session.replace_tail(session.messages[1], [("assistant", "new")])
    assert [said.content for said in session.messages] == ["a", "b", "meanwhile", "new"]
    store.once = lambda: other.pop(2) and None
    assert [said.content for said in session.pop()] == ["b"]
    store.once = lambda: other.add_message("user", "again") and None
    session.clear()
    assert not session.messages


def test_a_commit_is_whole_or_not_at_all() -> None:
    session = Session("s", store=MemorySessionStore())
    done = session.commit(messages=[("user", "a")], entries=[("mine.x", {})], state={"k": 1}, metadata={"m": 1}, expected=0)
    assert done.version == session.version
    for wrong, error, text in (
        ({"expected": done.version - 1}, Conflict, "is at version"),
        ({"expected": 0}, Conflict, "is at version"),
        ({"state": {"user:x": 1}}, InvalidState, "of the scope 'user'"),
        ({"state": {"temp:x": 1}}, InvalidState, "of the scope 'temp'"),
        ({"state": {"x": object()}}, InvalidState, r"state\['x'\]"),
        ({"metadata": {"x": {1}}}, InvalidInput, "metadata"),
        ({"entries": [("nodot", {})]}, InvalidInput, "'nodot' is no kind"),
        ({"entries": [("a.b", {}), "c.d"]}, InvalidInput, "'c.d' is no entry"),
        ({"entries": [("a.b", [1])]}, InvalidInput, "body of an entry"),
        ({"messages": [("user", "b"), ("nobody", "c")]}, InvalidInput, "message 2 of 2"),
    ):
        with pytest.raises(error, match=text):
            session.commit(**{"messages": [("user", "never")], "title": "never", **wrong})
    assert (session.version, session.message_count, session.title) == (done.version, 1, "")
    nothing = session.commit()
    assert (nothing.version, nothing.messages, nothing.entries) == (done.version, [], [])


@pytest.mark.parametrize("kind", ["message", "state", "", "a.", ".a", "a b.c", "a..b", "a.b\n", None, 7])
def test_a_kind_of_a_plugin_has_a_dot(kind: Any) -> None:
    session = Session("s", store=MemorySessionStore())
    with pytest.raises(SessileError):
        session.append(kind, {})
    assert not session.version


def test_entries_of_plugins_are_copied_and_exported_and_no_messages(tmp_path: Path) -> None:
    source = MemorySessionStore()
    session = Session("s", store=source)
    session.add_message("user", "a")
    session.append("mine.step", {"at": [1]})
    session.entries()[0].body["at"].append(2)  # a copy
    assert session.entries("mine.step")[0].body == {"at": [1]}
    assert (session.message_count, [m.content for m in session.messages], session.snapshots()) == (1, ["a"], [])
    target = MemorySessionStore()
    copy_store(source, target)
    loaded = Session.load(session.export(tmp_path / "s.jsonl"), store=MemorySessionStore())
    again = Session.from_dict(session.to_dict())
    for other in (Session("s", store=target), loaded, again, session.fork()):
        assert [(entry.kind, entry.body) for entry in other.entries()] == [("mine.step", {"at": [1]})]
        assert other.verify()


def test_the_original_beside_a_message_is_kept_to_the_byte() -> None:
    raw = '{"b": 1,  "a": "\\u00e9", "big": 1e400}\n'
    session = Session("s", store=MemorySessionStore())
    session.add_message("user", "hi", raw=raw)
    assert session.messages[0].raw == raw
    assert session.fork().messages[0].raw == raw
    with pytest.raises(InvalidInput, match="raw"):
        session.add_message("user", "hi", raw={"not": "text"})


def test_a_history_keeps_what_it_shares_with_the_one_before() -> None:
    session = Session("s", store=MemorySessionStore())
    session.add_messages([("user", str(number)) for number in range(100)])
    before = session.store.load("s").head
    session.set_history([*session.messages[:90], ("user", "new")])
    assert session.store.load("s").head == before + 3  # a snapshot, a revert and a message
    assert [said.content for said in session.messages] == [*map(str, range(90)), "new"]


class Repeats:
    """A model that keeps what it was sent."""

    def __init__(self) -> None:
        self.sent: list[list[Any]] = []

    def generate(self, request: Request) -> str:
        self.sent.append([dict(message) for message in request.messages])
        return f"re: {request.messages[-1].text}"


def test_messages_whose_ids_callers_give_are_all_stored() -> None:
    store = MemorySessionStore()
    one, two = Session("s", store=store), Session("s", store=store)
    assert not two.messages
    one.add_message("user", "one", id="x")
    two.add_message("user", "two", id="x")
    assert [said.content for said in one.messages] == ["one", "two"]
    version = one.version
    one.commit(messages=[{"role": "user", "content": "A", "id": "y"}], expected=version)
    with pytest.raises(Conflict):
        two.commit(messages=[{"role": "user", "content": "B", "id": "y"}], expected=version)


def test_tasks_that_take_back_at_once_each_take_another() -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            await session.add_messages([("user", text) for text in "abcd"])
            await session.append("x.y")
            popped = await asyncio.gather(*[session.pop() for _ in range(6)])
            assert sorted(said.content for one in popped for said in one) == [*"abcd"]
            assert await session.message_count == 0

    asyncio.run(main())


@pytest.mark.parametrize("verb", ["pop", "replace_tail", "clear"])
def test_what_was_not_seen_is_not_taken_back_under_raise(verb: str) -> None:
    store = MemorySessionStore()
    session = Session("s", store=store, on_conflict="raise")
    session.add_message("user", "seen")
    Session("s", store=store).add_message("user", "not seen")
    with pytest.raises(Conflict):
        session.replace_tail(None, []) if verb == "replace_tail" else getattr(session, verb)()
    assert session.message_count == 2


def test_what_replaces_the_end_of_a_turn_is_of_the_turn() -> None:
    model = Repeats()
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    session.chat("one")
    session.replace_tail(session.messages[0], [("assistant", "better")])
    assert not any(said.open for said in session.messages)
    session.chat("two")
    assert [said["content"] for said in model.sent[-1]] == ["one", "better", "two"]


def test_a_model_is_sent_no_originals() -> None:
    model = Repeats()
    session = Session("s", store=MemorySessionStore(), agent=Agent(model=model))
    session.add_message("user", "a", raw="ORIGINAL")
    session.chat("b")
    assert "ORIGINAL" not in repr(model.sent)
    assert session.messages[0].raw == "ORIGINAL"
    assert session.messages[0].replace(content="new").raw is None
    assert session.messages[0].replace().raw == "ORIGINAL"


def test_a_history_with_other_originals_and_times_is_another() -> None:
    session = Session("s", store=MemorySessionStore())
    session.add_message("user", "a", raw="one", timestamp=1.0)
    session.set_history([{"role": "user", "content": "a", "raw": "two", "timestamp": 5.0}])
    assert [(said.raw, said.timestamp) for said in session.messages] == [("two", 5.0)]
    before = session.version
    session.set_history(session.messages)
    assert session.version == before


def test_an_id_that_is_doubled_means_the_last() -> None:
    session = Session("s", store=MemorySessionStore())
    for text in "abc":
        session.add_message("user", text, id="z" if text == "c" else "x")
    assert session.message("x").content == "b"
    assert [said.content for said in session.get_history(after="x")] == ["c"]
    with pytest.raises(InvalidInput, match="nobody"):
        session.get_history(0, after="nobody")


def test_the_very_same_message_of_two_writers_is_stored_twice() -> None:
    """Same id, time and text: still, neither takes the other's commit for its own."""
    store = MemorySessionStore()
    one, two = Session("s", store=store), Session("s", store=store)
    one.add_message("user", "first")
    assert two.messages
    for writer in (one, two):
        writer.add_message("user", "same", id="x", timestamp=1.0)
    assert [said.content for said in one.messages] == ["first", "same", "same"]


def test_who_replaces_what_another_takes_back_is_told() -> None:
    store = Meanwhile()
    session, other = Session("s", store=store), Session("s", store=store)
    session.add_messages([("user", text) for text in "abc"])
    store.once = lambda: other.pop() and None
    with pytest.raises(Conflict, match="look"):
        session.replace_tail(session.messages[0], [("user", "new")])
    assert [said.content for said in session.messages] == ["a", "b"]
    kept = session.replace_tail(session.messages[0], [{"role": "user", "content": "new", "id": session.messages[0].id}])
    assert [said.content for said in kept] == ["new"]


def test_what_is_no_dict_is_no_entry() -> None:
    entry = Session("s", store=MemorySessionStore()).append("mine.x")
    known = json.loads(entry.json)
    assert Entry.from_dict(known).json == entry.json
    for data in ([*known.items()], "text", None, 3):
        with pytest.raises(CorruptStore):
            Entry.from_dict(data)


def test_a_look_that_began_before_the_first_commit_takes_it_for_no_deletion() -> None:
    class Late(MemorySessionStore):
        """The first load sees nothing, though the same handle has said something by the time it answers."""

        happens: Callable[[], object] | None = None

        def load(self, session_id: str) -> Any:
            found = super().load(session_id)
            happens, self.happens = self.happens, None
            if happens:
                happens()
            return found

    store = Late()
    session = Session("s", store=store)
    session.message_count  # noqa: B018  a first look: nothing is there
    store.happens = lambda: session.add_message("user", "begun meanwhile")
    assert session.message_count == 1


@pytest.mark.parametrize("how", ["replace_tail", "pop"])
def test_what_others_say_meanwhile_stays_in_its_order(how: str) -> None:
    store = Meanwhile()
    session, other = Session("s", store=store), Session("s", store=store)
    session.add_messages([("user", "a"), ("user", "b")])
    store.once = lambda: other.add_messages([("user", text) for text in "xyz"])
    if how == "pop":
        popped = [said.text for said in session.pop()]
        assert popped == ["z"]
        assert [said.text for said in session.messages] == ["a", "b", "x", "y"]
    else:
        session.replace_tail(session.messages[0], [("user", "c")])
        assert [said.text for said in session.messages] == ["a", "x", "y", "z", "c"]


def test_a_point_behind_a_message_of_a_commit_has_its_state() -> None:
    session = Session("s", store=MemorySessionStore())
    done = session.commit(messages=[("user", "a"), ("user", "b")], state={"k": 1}, entries=[("my.note", {"n": 1})])
    fork = session.fork(done.messages[0])
    assert (fork.state, [entry.body for entry in fork.entries()]) == ({"k": 1}, [{"n": 1}])


def test_a_plugins_entry_behind_an_undo_survives_the_redo() -> None:
    session = Session("s", store=MemorySessionStore())
    session.add_message("user", "a")
    session.undo()
    session.append("my.note", {"n": 1})
    session.redo()
    assert ([said.text for said in session.messages], [entry.body for entry in session.entries()]) == (["a"], [{"n": 1}])


def test_a_question_in_a_tail_begins_something_new() -> None:
    sent: list[list[str]] = []

    class Model:
        def generate(self, request: Request) -> str:
            sent.append([said.text for said in request.messages if said.role != "system"])
            return f"reply {len(sent)}"

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Model()))
    session.chat("one")
    session.chat("two")
    session.replace_tail(session.messages[2], [("assistant", "better"), ("user", "and then?"), ("assistant", "then")])
    assert [said.open for said in session.messages] == [False] * 6
    session.chat("three")
    assert sent[-1] == ["one", "reply 1", "two", "better", "and then?", "then", "three"]


def test_the_same_question_begins_a_new_turn_where_the_tail_was_replaced() -> None:
    class Fails:
        def generate(self, request: Request) -> str:
            raise ValueError("no")

    session = Session("s", store=MemorySessionStore(), agent=Agent(model=Fails()))
    with pytest.raises(ValueError, match="no"):
        session.chat("one")
    session.replace_tail(None, [("user", "other"), ("assistant", "yes")])
    session.agent = Agent(model="echo")
    session.chat("one")
    assert [said.text for said in session.messages] == ["other", "yes", "one", "one"]
