"""Histories of many ranges and many messages, read by handles that know none of them and by one that has said them all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.stores import ALL, url_of

from sessile import Agent, MemorySessionStore, Message, Session, SessionManager
from sessile.conversation.prompt.past import Past, all_shown, as_shown
from sessile.log.header import Header
from sessile.store import StoreWrapper


@pytest.mark.parametrize("kind", ALL)
def test_nothing_is_lost_behind_many_reverts(kind: str, tmp_path: Path) -> None:
    with Session("s", store=url_of(kind, tmp_path)) as session:
        expected = []
        for number in range(40):
            session.add_messages([("user", f"{number}"), ("assistant", "taken back")])
            session.revert(-1)
            expected.append(f"{number}")
        for found in (Session("s", store=session.store), session.fork()):
            assert [message.text for message in found.messages] == expected
            assert [message.text for message in found.get_history(5)] == expected[-5:]
            assert found.verify()
        path = session.export(tmp_path / "s.jsonl")
    imported = SessionManager(MemorySessionStore()).import_session(path)
    assert [message.text for message in imported.messages] == expected
    assert [message.text for message in imported.get_history(25)] == expected[-25:]


def test_a_handle_that_has_said_much_still_shows_all_of_it() -> None:
    with Session("s", store=MemorySessionStore(), agent=Agent(model="echo")) as session:
        session.chat("first")
        for number in range(1100):
            session.add_message("user", f"{number}")
        assert len(session.get_history()) == session.message_count == 1102
        assert [message.text for message in session.get_history(2)] == ["1098", "1099"]


class Counting(StoreWrapper):
    reads = 0

    def read(self, *args: Any) -> Any:
        self.reads += 1
        return super().read(*args)


@pytest.mark.parametrize("way", ["pop", "revert", "undo", "replace_tail"])
def test_saying_the_last_message_again_and_again_costs_later_readers_nothing(way: str) -> None:
    store = Counting(MemorySessionStore())
    session = Session("s", store=store)
    session.add_messages([("user", "a"), ("assistant", "b")] * 10)
    for number in range(100):
        if way == "replace_tail":
            session.replace_tail(session.messages[-2], [("assistant", f"{number}")])
        else:
            {"pop": session.pop, "revert": lambda: session.revert(-1), "undo": session.undo}[way]()
            session.add_message("user" if way == "undo" else "assistant", f"{number}")
    assert session.verify()
    store.reads = 0
    assert [message.text for message in Session("s", store=store).get_history(5)][-1] == "99"
    assert store.reads <= 4


ROLES = st.sampled_from(["user", "assistant", "tool"])


@given(said=st.lists(st.tuples(ROLES, st.sampled_from([None, "a", "b", "c"]), st.booleans()), max_size=12))
def test_a_long_history_is_shown_as_a_short_one(said: list[tuple[str, str | None, bool]]) -> None:
    """One that is read whole is arranged in one pass where its turns do not interleave."""
    messages = []
    for number, (role, turn, calls) in enumerate(said):
        fields: dict[str, Any] = {"id": f"{number}", "role": role, "content": "", **({"turn": turn} if turn else {})}
        if role == "tool":
            fields["tool_call_id"] = "call"
        elif role == "assistant" and calls:
            fields["tool_calls"] = [{"id": "call", "name": "f", "arguments": {}}]
        messages.append(Message(fields))
    header = Header(session_id="s")
    expected = as_shown(Past(header, messages, whole=True).last(None))
    found = all_shown(header, [*messages])
    assert found == expected
    assert [one.open for one in found] == [one.open for one in expected]
