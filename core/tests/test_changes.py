"""`changes`: whoever follows a session by its cursor knows what counts, whatever was done to it meanwhile."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from hypothesis.strategies import integers, sampled_from

from sessile import AsyncSession, MemorySessionStore, Session, SessionManager, Span
from sessile.errors import InvalidInput


def texts_of(session: Session, spans: list[Span]) -> list[str]:
    return [entry.body["content"] for span in spans for entry in session.read(span) if entry.kind == "message"]


class Follower:
    """Keeps what counts of a session, from nothing but its changes."""

    def __init__(self) -> None:
        self.cursor: Any = None
        self.places: dict[tuple[str, int], str | None] = {}

    def follow(self, session: Session) -> list[str]:
        found = session.changes(self.cursor)
        for log, start, stop in found.gone:
            for place in [place for place in self.places if place[0] == log and start <= place[1] < (stop or 2**60)]:
                del self.places[place]
        for span in found.added:
            for entry in session.read(span):
                assert (span.log, entry.position) not in self.places
                self.places[span.log, entry.position] = entry.body["content"] if entry.kind == "message" else None
        self.cursor = json.loads(json.dumps(found.cursor))
        return sorted(text for text in self.places.values() if text is not None)


class Following(RuleBasedStateMachine):
    """One follower looks now and then, one all the time, and a new one must find the same."""

    @initialize()
    def begin(self) -> None:
        self.store = MemorySessionStore()
        self.session = Session("s", store=self.store)
        self.always, self.seldom = Follower(), Follower()
        self.forks = 0

    @rule(count=integers(1, 3))
    def say(self, count: int) -> None:
        self.session.add_messages([("user", f"{self.session.message_count} of {count}") for _ in range(count)])

    @rule(share=integers(0, 10))
    def revert(self, share: int) -> None:
        self.session.revert(self.session.message_count * share // 10)

    @rule(verb=sampled_from(["undo", "redo"]))
    def go(self, verb: str) -> None:
        with contextlib.suppress(InvalidInput):
            getattr(self.session, verb)()

    @rule()
    def state_and_snapshot(self) -> None:
        self.session.set_state("k", 1)
        self.session.snapshot("x")

    @rule()
    def set_history(self) -> None:
        self.session.set_history([*self.session.get_history()[:-1], ("user", "instead")])

    @rule(share=integers(0, 10))
    def go_on_in_a_fork(self, share: int) -> None:
        self.forks += 1
        self.session = self.session.fork(self.session.message_count * share // 10, session_id=f"f{self.forks}")

    @rule()
    def merge(self) -> None:
        other = self.session.fork()
        other.add_message("user", "elsewhere")
        self.session = self.session.merge(other)

    @rule()
    def delete_and_begin_anew(self) -> None:
        name = self.session.session_id
        self.session.delete()
        self.session = Session(name, store=self.store)

    @rule()
    def look(self) -> None:
        self.same(self.seldom)

    @invariant()
    def always_the_same(self) -> None:
        self.same(self.always)
        self.same(Follower())

    def same(self, follower: Follower) -> None:
        assert follower.follow(self.session) == sorted(said.text for said in self.session.get_history())

    def teardown(self) -> None:
        self.same(self.seldom)


Following.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestFollowing = Following.TestCase


def test_what_was_only_added_to_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySessionStore()
    session = Session("s", store=store)
    session.add_messages([("user", str(n)) for n in range(10)])
    cursor = session.changes().cursor
    session.add_messages([("user", "x"), ("user", "y")])
    monkeypatch.setattr(store, "read", lambda *_: pytest.fail("it read the log"))
    found = session.changes(cursor)
    assert ([(span.start, span.stop) for span in found.added], found.gone) == ([(10, 12)], [])
    assert session.changes(found.cursor) == type(found)([], [], found.cursor)


def test_a_fork_names_what_it_inherits_and_reads_it() -> None:
    store = MemorySessionStore()
    session = Session("s", store=store)
    session.add_messages([("user", "a"), ("user", "b"), ("user", "c")])
    fork = session.fork(2)
    fork.add_message("user", "d")
    assert texts_of(fork, fork.changes().added) == ["a", "b", "d"]
    (own,) = session.changes().added
    assert fork.changes().added[0] == Span(own.log, 0, 2)
    with pytest.raises(InvalidInput, match="up to 2"):
        fork.read(own)
    with pytest.raises(InvalidInput, match="does not read"):
        session.read(fork.changes().added[1])


def test_another_process_that_deletes_it_is_seen() -> None:
    store = MemorySessionStore()
    session = Session("s", store=store)
    session.add_message("user", "a")
    before = session.changes()
    SessionManager(store).delete("s")
    assert Session("s", store=store).changes(before.cursor).gone == [Span(before.added[0].log, 0, None)]


@pytest.mark.parametrize(
    "since",
    [
        5,
        "x",
        [],
        {"logs": []},
        {"logs": ["a"], "last": [1, 0, 0]},
        {"logs": ["a"], "last": [0, 1, 0]},
        {"logs": 3, "last": [0, 0, 0]},
    ],
)
def test_what_is_no_cursor_is_refused(since: Any) -> None:
    with pytest.raises(InvalidInput, match="since"):
        Session(store="memory://").changes(since)


@pytest.mark.parametrize("span", [5, "x", ("a", 1), (None, 0, 1), ("a", True, 1), ("a", 0, "1")])
def test_what_is_no_span_is_refused(span: Any) -> None:
    with pytest.raises(InvalidInput, match="span"):
        Session(store="memory://").read(span)


def test_what_is_read_is_a_copy() -> None:
    session = Session(store="memory://")
    session.add_message("user", "a")
    (span,) = session.changes().added
    session.read(span)[0].body["content"] = "b"
    assert texts_of(session, [span]) == ["a"]


async def _awaited() -> None:
    async with AsyncSession(store="memory://") as session:
        await session.add_message("user", "a")
        (span,) = (await session.changes()).added
        assert [entry.body["content"] for entry in await session.read(span)] == ["a"]


def test_both_are_awaited_in_the_other_face() -> None:
    import asyncio

    asyncio.run(_awaited())
