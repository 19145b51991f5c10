"""State and its scopes, history, and what a session's header says."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.faces import FACES, opener

from sessile import MemorySessionStore, Session, SessionManager
from sessile.conversation.messages import Message
from sessile.errors import Conflict, InvalidInput, InvalidState
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.testing.limits import at_once


@pytest.fixture
def store() -> MemorySessionStore:
    return MemorySessionStore()


def test_scopes(store: MemorySessionStore) -> None:
    ann, ann2 = Session("a1", user_id="ann", store=store), Session("a2", user_id="ann", store=store)
    bob = Session("b1", user_id="bob", store=store)
    ann.set_state("plain", 1)
    ann.set_state("user:lang", "en")
    ann.set_state("app:motto", "stay")
    ann.set_state("temp:draft", [1])
    assert ann.state == {"plain": 1, "user:lang": "en", "app:motto": "stay", "temp:draft": [1]}
    assert ann2.state == {"user:lang": "en", "app:motto": "stay"}
    assert bob.state == {"app:motto": "stay"}
    assert bob.get_state("user:lang", "none") == "none"
    assert Session("a1", store=store).state == {"plain": 1, "user:lang": "en", "app:motto": "stay"}
    ann2.delete_state("user:lang")
    assert ann.get_state("user:lang") is None
    ann.delete_state("temp:draft")
    assert ann.get_state("temp:draft") is None


@pytest.mark.parametrize("look", [True, False])
def test_the_users_state_is_that_of_whom_the_session_belongs_to(store: MemorySessionStore, look: bool) -> None:
    Session("other", user_id="default_user", store=store).set_state("user:secret", "of another")
    early = Session("s", store=store)  # nobody's yet
    if look:
        assert early.state == {"user:secret": "of another"}
    bob = Session("s", user_id="bob", store=store)
    bob.add_message("user", "mine")
    early.set_state("user:lang", "en")
    assert early.state == bob.state == {"user:lang": "en"}
    assert Session("other", store=store).state == {"user:secret": "of another"}


def test_a_whole_state_replaces_the_plain_keys_only(store: MemorySessionStore) -> None:
    session = Session("s", store=store)
    session.set_state({"a": 1, "b": 2, "user:x": 3})
    session.set_state({"b": 4})
    assert session.state == {"b": 4, "user:x": 3}


def test_what_comes_out_is_not_what_was_put_in(store: MemorySessionStore) -> None:
    session = Session("s", store=store)
    value = {"list": [1]}
    session.set_state("k", value)
    value["list"].append(2)
    assert session.get_state("k") == {"list": [1]}


def test_setting_the_same_again_commits_nothing(store: MemorySessionStore) -> None:
    session = Session("s", store=store)
    session.set_state("k", 1)
    before = store.load("s")
    session.set_state("k", 1)
    assert store.load("s") == before


def test_update_is_asked_again_after_a_conflict(store: MemorySessionStore) -> None:
    one, two = Session("s", store=store), Session("s", store=store)
    asked = []

    def change(old: list[int]) -> list[int]:
        asked.append(list(old))
        if len(asked) == 1:
            two.update_state("k", lambda old: [*old, 2], [])
        return [*old, 1]

    assert one.update_state("k", change, []) == [2, 1]
    assert asked == [[], [2]]


def test_reading_an_unknown_session_leaves_no_trace(tmp_path: Path) -> None:
    for url in (f"file://{tmp_path}/sessions", f"sqlite:///{tmp_path}/x.db"):
        session = Session("nobody", store=url)
        assert (session.messages, session.message_count, session.state, session.status) == ([], 0, {}, "created")
        assert session.get_context()["message_count"] == 0
        session.close()
    assert not list(tmp_path.iterdir())


def test_replacing_the_history(store: MemorySessionStore) -> None:
    session = Session("s", store=store)
    session.add_messages([("user", "a"), ("assistant", "b"), ("user", "c")])
    ids = [m.id for m in session.messages]
    session.set_history(session.messages[:2])
    assert [m.id for m in session.messages] == ids[:2]
    assert session.message_count == 2
    session.set_history([*session.messages, ("user", "d")])
    assert [m.content for m in session.messages] == ["a", "b", "d"]
    session.set_history([])
    assert (session.messages, session.message_count) == ([], 0)
    session.add_message("user", "e")
    assert [m.content for m in session.get_history(5)] == ["e"]
    assert store.load("s").head > 4  # nothing was destroyed


def test_a_message_is_a_read_only_dict_with_attributes() -> None:
    said = Message({"role": "user", "content": [{"type": "text", "text": "a"}, "b"]})
    assert (said["role"], said.role, said.text, said.metadata, said.turn) == ("user", "user", "ab", {}, None)
    for change in (lambda: said.update(a=1), lambda: said.__setitem__("a", 1), lambda: setattr(said, "a", 1), said.clear):
        with pytest.raises(TypeError, match="read-only"):
            change()
    with pytest.raises(AttributeError, match="has no 'colour'"):
        _ = said.colour
    assert said.replace(content="x").content == "x"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3),
    max_leaves=8,
)


@given(st.text(st.characters(codec="utf-8")), st.dictionaries(st.text(st.characters(codec="utf-8")), json_values, max_size=3))
def test_any_message_comes_back_as_it_was(text: str, metadata: dict[str, object]) -> None:
    session = Session("s", store=MemorySessionStore())
    said = session.add_message("user", text, metadata)
    assert (said.content, said.metadata) == (text, metadata)
    (entry,) = session.store.read(session.store.load("s").log, 0, 1)
    assert Entry.from_json(entry.json) == entry


@given(json_values)
def test_fields_of_newer_versions_survive_a_round_trip(value: object) -> None:
    data = {**Header(session_id="s").to_dict(), "newer": value}
    assert Header.from_dict(data).to_dict() == data
    plain = {"position": 3, "kind": "message", "id": "i", "time": 1.0, "body": {}, "newer": value}
    assert Entry.from_json(Entry.from_dict(plain).json) == Entry.from_dict(plain)


def test_what_is_no_preference_or_number_is_named() -> None:
    session = Session("s", store="memory://")
    session.set_state("user:preferences", 5)
    session.set_state("n", 10**400)
    for call in (lambda: session.update_preference("a", 1), lambda: session.get_preference("a")):
        with pytest.raises(InvalidState, match="preferences are a dict"):
            call()
    with pytest.raises(InvalidState, match="too large"):
        session.increment_state("n", 1.5)


def test_equal_values_that_are_written_differently_are_changes(store: MemorySessionStore) -> None:
    session = Session("s", store=store, metadata={"m": 1})
    session.add_message("user", "a", {"m": 1})
    session.set_state("k", 1)
    for value in (True, 1.0):
        session.metadata = {"m": value}
        session.set_history([{"role": "user", "content": "a", "metadata": {"m": value}}])
        other = session.fork()
        other.set_state("k", value)
        assert repr(session.metadata) == repr(session.messages[0].metadata) == repr({"m": value})
        assert repr(session.diff(other).state) == repr({"k": (value, 1)})
        assert repr(session.merge(other).state) == repr({"k": value})


@pytest.mark.parametrize("face", FACES)
def test_what_is_as_wanted_only_for_a_handle_that_is_behind_is_committed(store: MemorySessionStore, face: str) -> None:
    loop = asyncio.new_event_loop()
    one, two = (opener(face, loop)("s", store=store) for _ in "12")

    def both(first: Callable[[Any], None], second: Callable[[Any], None]) -> None:
        for session, change in ((one, first), (two, second), (one, first)):
            change(session)

    both(lambda s: s.set_state("k", 1), lambda s: s.set_state("k", 2))
    assert two.get_state("k") == 1
    both(lambda s: s.delete_state("k"), lambda s: s.set_state("k", 2))
    assert two.get_state("k") is None
    both(lambda s: s.set_state({"k": 1}), lambda s: s.set_state("new", 2))
    assert two.state == {"k": 1}
    both(lambda s: s.set_state("user:k", 1), lambda s: s.set_state("user:k", 2))
    assert two.get_state("user:k") == 1
    one.set_state("k", 5)
    two.set_state("k", 1)
    assert one.update_state("k", lambda old: max(old, 4)) == two.get_state("k") == 4
    one.set_state("k", "no number")
    two.set_state("k", 4)
    assert one.increment_state("k") == 5
    with pytest.raises(InvalidState, match="state\\['user:k'\\] is 'text'"):
        both(lambda s: s.increment_state("user:k"), lambda s: s.set_state("user:k", "text"))
    asked: list[Any] = []
    one.update_state("k", lambda old: asked.append(old) or old)
    assert asked == [5]  # nobody changed it meanwhile
    both(lambda s: setattr(s, "title", "a"), lambda s: setattr(s, "title", "b"))
    assert two.title == "a"
    both(lambda s: setattr(s, "metadata", {"a": 1}), lambda s: setattr(s, "metadata", {}))
    assert two.metadata == {"a": 1}
    both(lambda s: s.archive(), lambda s: s.add_message("user", "a"))
    assert two.status == "archived"
    loop.close()


@pytest.mark.parametrize("face", FACES)
def test_shared_state_that_was_deleted_is_empty_and_begins_anew(store: MemorySessionStore, face: str) -> None:
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", user_id="ann", store=store)
    session.set_state("user:lang", "en")
    session.set_state("app:motto", "stay")
    SessionManager(store).delete_user("ann")
    session = opener(face, loop)("s", user_id="ann", store=store)
    early = opener(face, loop)("early", user_id="ann", store=store)
    early.set_state("user:lang", "no")
    SessionManager(store).delete_user("ann")
    SessionManager(store).clear_all()
    assert early.get_state("user:lang") is None
    early.set_state("user:lang", "de")
    assert session.get_state("user:lang") == "de"
    loop.close()


@pytest.mark.parametrize("face", FACES)
def test_a_policy_is_given_the_whole_key_and_raises_before_anything_is_stored(store: MemorySessionStore, face: str) -> None:
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=store, user_id="ann")
    session.set_state({"k": 1, "user:k": 1})
    other = Session("s", store=store)
    other.set_state("user:k", "theirs")
    with pytest.raises(Conflict, match="state key 'user:k' was set to 'theirs'"):
        session.set_state({"k": 2, "user:k": "ours", "temp:t": 5}, policy="raise")
    assert session.get_state("temp:t") is None
    assert other.state == {"k": 1, "user:k": "theirs"}
    other.set_state({"k": "theirs", "user:k": "theirs again"})
    session.set_state({"k": "ours", "user:k": "ours"}, policy=lambda key, ours, theirs: [key, ours, theirs])
    assert other.state == {"k": ["k", "ours", "theirs"], "user:k": ["user:k", "ours", "theirs again"]}
    loop.close()


def test_threads_count_together_in_what_is_never_stored(store: MemorySessionStore) -> None:
    session = Session("s", store=store)

    def count() -> None:
        for _ in range(200):
            session.increment_state("temp:n")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    at_once(*[count] * 4)
    sys.setswitchinterval(interval)
    assert session.get_state("temp:n") == 800


@pytest.mark.parametrize("face", FACES)
def test_an_async_function_that_changes_state_is_refused(store: MemorySessionStore, face: str) -> None:
    async def change(old: Any) -> int:
        return 1

    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=store)
    with pytest.raises(InvalidInput, match="change is an async function"):
        session.update_state("k", change)
    loop.close()
