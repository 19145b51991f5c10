"""What is meant for one session never meets the next one under its id, nor waits for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import SessionNotFound


class Meanwhile(MemorySessionStore):
    """Right before a later load of the session "s", something else happens, once. loads: how many come before that."""

    def __init__(self) -> None:
        super().__init__()
        self.happens: Callable[[], object] | None = None
        self.loads = 0

    def load(self, session_id: str) -> Any:
        if self.happens and session_id == "s":
            self.loads -= 1
            if self.loads < 0:
                happens, self.happens = self.happens, None
                happens()
        return super().load(session_id)

    def replaced(self, user_id: str = "bob") -> Session:
        """Delete the session and begin another under its id, whoever uses the old one."""
        header = super().load("s")
        assert header is not None
        super().delete("s", expected=header.version)
        session = Session("s", user_id=user_id, store=self)
        session.add_message("user", "of the next one")
        return session


VERBS: dict[str, tuple[int, Callable[[SessionManager], Any], Any]] = {
    "delete of a user": (1, lambda manager: manager.user("ann").delete("s"), False),
    "delete of a user by name": (1, lambda manager: manager.delete("s", "ann"), False),
    "delete_user": (0, lambda manager: manager.delete_user("ann"), 0),
    "clear_all": (0, lambda manager: manager.clear_all(), 0),
    "delete_archived": (0, lambda manager: manager.delete_archived(), 0),
}


@pytest.mark.parametrize("verb", VERBS)
def test_the_next_session_is_not_deleted_for_the_one_that_was_found(verb: str) -> None:
    store = Meanwhile()
    with Session("s", user_id="ann", store=store) as session:
        session.add_message("user", "x")
        session.archive()
    manager = SessionManager(store)

    def happens() -> None:
        store.replaced().archive()

    store.loads, call, answer = VERBS[verb]
    store.happens = happens
    assert call(manager) == answer
    assert store.happens is None
    assert [header.user_id for header in manager.list()] == ["bob"]
    assert Session("s", store=store).message_count == 1


@pytest.mark.parametrize("verb", ["add_message", "delete"])
def test_who_waits_for_a_session_that_is_used_does_not_wait_for_the_next_one(verb: str) -> None:
    store = Meanwhile()
    holder = Session("s", store=store)
    holder.add_message("user", "x")
    waiting = Session("s", store=store, timeout=2)

    def happens() -> None:
        store.replaced("default_user").exclusive(lease=60).__enter__()

    with holder.exclusive(lease=60):
        assert waiting.message_count == 1  # it has seen the lease
        store.loads = 1 if verb == "delete" else 0
        store.happens = happens
        if verb == "add_message":
            with pytest.raises(SessionNotFound):
                waiting.add_message("user", "y")
        else:
            waiting.delete()
        assert store.happens is None
    assert [m.text for m in Session("s", store=store).messages] == ["of the next one"]


def test_the_holder_of_a_lease_may_delete_the_session() -> None:
    store = MemorySessionStore()
    with Session("s", store=store, timeout=1) as session:
        session.add_message("user", "x")
        with session.exclusive(lease=60):
            session.delete()
    assert not SessionManager(store).exists("s")
    assert store.logs() == []


def test_a_fork_that_fails_leaves_its_id_free() -> None:
    class Gone(MemorySessionStore):
        """The parent is deleted once a fork of it has begun."""

        def commit(self, session_id: str, **what: Any) -> None:
            super().commit(session_id, **what)
            if session_id == "f" and what["changes"].get("status") == "pending":
                SessionManager(self).delete("s")

    store = Gone()
    session = Session("s", store=store)
    session.add_message("user", "x")
    with pytest.raises(SessionNotFound):
        session.fork(session_id="f")
    assert store.load("f") is None
    assert store.logs() == []
    Session("f", store=store).add_message("user", "anew")
