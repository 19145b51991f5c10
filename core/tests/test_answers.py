"""Stores that do not answer, answer twice, or let sessions expire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import Missing, StoreUnavailable


class Down(MemorySessionStore):
    """It does not answer while it is down. Whoever asks for more than so many seconds is never going to stop."""

    down_since: float | None = None

    def _open(self) -> Any:
        if self.down_since is not None:
            assert time.monotonic() < self.down_since + 10, "it is still asked"
            raise StoreUnavailable("no route to the store")
        return super()._open()


VERBS: dict[str, Callable[[Session], object]] = {
    "messages": lambda session: session.messages,
    "state": lambda session: session.state,
    "add_message": lambda session: session.add_message("user", "y"),
    "revert": lambda session: session.revert(0),
    "fork": lambda session: session.fork(),
    "delete": lambda session: session.delete(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_store_that_is_down_is_given_up(verb: str) -> None:
    store = Down()
    session = Session("s", store=store, timeout=0.1)
    session.add_message("user", "x")
    store.down_since = time.monotonic()
    with pytest.raises(StoreUnavailable):
        VERBS[verb](session)
    store.down_since = None
    assert [m.text for m in session.messages] == ["x"]


class SentTwice(MemorySessionStore):
    """Its driver sends each commit once more, where the answer to the first is lost."""

    def commit(self, session_id: str, **what: Any) -> None:
        super().commit(session_id, **what)
        super().commit(session_id, **what)


@pytest.mark.parametrize("on_conflict", ["rebase", "raise"])
def test_a_commit_that_a_driver_sends_twice_is_stored_once(on_conflict: str) -> None:
    store = SentTwice()
    session = Session("s", store=store, on_conflict=on_conflict, timeout=1)
    for text in "ab":
        session.add_message("user", text)
    session.set_state("k", 1)
    session.fork(session_id="f").add_message("user", "c")
    for name, texts in (("s", "ab"), ("f", "abc")):
        with Session(name, store=store) as again:
            assert [m.text for m in again.messages] == [*texts]
            assert again.verify()
    assert SessionManager(store).clear_all() == 2
    assert store.logs() == []


class Expiring(MemorySessionStore):
    """Sessions expire 100 s after their last change, by a clock that the test puts on; their logs live 10 s longer."""

    ttl = 100.0

    def __init__(self) -> None:
        super().__init__()
        self._until: dict[str, float] = {}  # by session and by log

    def pass_by(self, seconds: float) -> None:
        for name in self._until:
            self._until[name] -= seconds

    def load(self, session_id: str) -> Any:
        return super().load(session_id) if self._is_there(session_id) else None

    def commit(self, session_id: str, **what: Any) -> None:
        super().commit(session_id, **what)
        if not session_id.startswith("~"):
            header = super().load(session_id)
            assert header is not None
            self._until[session_id] = time.time() + self.ttl
            self.touch(header.log, time.time() + 1.1 * self.ttl)

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Any:
        if not self._is_there(log):
            raise Missing(log)
        return super().read(log, start, stop, kind)

    def touch(self, log: str, until: float) -> bool:
        there = self._is_there(log)
        if there:
            self._until[log] = max(until, self._until.get(log, 0))
        return there

    def _is_there(self, name: str) -> bool:
        return self._until.get(name, time.time() + 1) > time.time()


def test_what_a_fork_inherits_lives_as_long_as_the_fork() -> None:
    store = Expiring()
    parent = Session("parent", store=store)
    parent.add_message("user", "a")
    store.pass_by(90)
    child = parent.fork(session_id="child")
    store.pass_by(90)  # the parent's log has expired, but for what the fork needs
    assert not SessionManager(store).exists("parent")
    assert [m.text for m in child.messages] == ["a"]
    child.add_message("user", "b")
    grandchild = child.fork(session_id="grandchild")
    store.pass_by(90)
    assert [m.text for m in grandchild.messages] == ["a", "b"]
    store.pass_by(90)
    assert Session("grandchild", store=store).messages == []  # the clock does go on


class OutOfReach(MemorySessionStore):
    """The answer to the commit that makes a session of a fork is lost, and the store is away for the next calls."""

    away = 0

    def _open(self) -> Any:
        if self.away:
            self.away -= 1
            raise StoreUnavailable("no route to the store")
        return super()._open()

    def commit(self, session_id: str, **what: Any) -> None:
        super().commit(session_id, **what)
        if session_id == "fork" and what["changes"].get("status") == "active":
            self.away = 4
            raise StoreUnavailable("connection reset")


def test_a_fork_that_lives_keeps_what_it_inherits_though_its_maker_has_given_up() -> None:
    store = OutOfReach()
    parent = Session("parent", store=store, timeout=0.02)
    parent.add_messages([("user", "a"), ("assistant", "b")])
    with pytest.raises(StoreUnavailable):
        parent.fork(session_id="fork")
    store.away = 0
    parent.delete()
    assert [message.text for message in Session("fork", store=store).messages] == ["a", "b"]
    Session("fork", store=store).delete()
    assert store.logs() == []


def test_a_message_of_the_same_id_is_not_taken_for_ones_own() -> None:
    """Its commit gets no answer, and another writer's, under the same id, is there in its place."""

    class Unanswered(MemorySessionStore):
        once = True

        def commit(self, session_id: str, **how: Any) -> None:
            if self.once and how["entries"] and how["entries"][0].body["content"] == "ours":
                self.once = False
                Session("s", store=self).add_message("user", "theirs", id="same")
                raise StoreUnavailable("no answer")
            super().commit(session_id, **how)

    session = Session("s", store=Unanswered())
    session.add_message("user", "first")
    session.add_message("user", "ours", id="same")
    assert [said.text for said in session.messages] == ["first", "theirs", "ours"]
