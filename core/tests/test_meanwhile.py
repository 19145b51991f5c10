"""What is to be done with many sessions, while others go on using them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.transfer.copying import copy_store

AGO = 1e-9  # days: so much older is everything in these tests


class Busy(MemorySessionStore):
    """A store in which something else happens once, right before a call."""

    def __init__(self, method: str, happens: Callable[[Busy, Any], None]) -> None:
        super().__init__()
        self.method: str | None = None
        self._method, self._happens = method, happens

    def begin(self) -> None:
        self.method = self._method

    def _before(self, method: str, about: Any) -> None:
        if self.method == method:
            self.method = None
            self._happens(self, about)

    def find(self, query: Any) -> Any:
        if query.cursor is not None:
            self._before("next page", query)
        return super().find(query)

    def commit(self, session_id: str, **how: Any) -> None:
        self._before("commit", session_id)
        super().commit(session_id, **how)

    def delete(self, session_id: str, **how: Any) -> None:
        self._before("delete", session_id)
        super().delete(session_id, **how)


def say(store: Any, *session_ids: str) -> None:
    for session_id in session_ids:
        Session(session_id, store=store).add_message("user", "I am back")


def everywhere(store: Busy, session_id: str) -> None:
    say(store, "a", "b")


def in_the_other(store: Busy, session_id: str) -> None:
    say(store, "b" if session_id == "a" else "a")


VERBS: dict[str, Callable[[SessionManager], int]] = {
    "delete_inactive": lambda manager: manager.delete_inactive(AGO),
    "delete_archived": lambda manager: manager.delete_archived(),
    "archive_inactive": lambda manager: manager.archive_inactive(AGO),
}


@pytest.mark.parametrize(
    ("verb", "method", "happens", "done"),
    [
        *((verb, "commit", everywhere, 0) for verb in VERBS),  # right before the first of them would be marked
        ("delete_inactive", "delete", in_the_other, 1),  # once that is done
        ("delete_archived", "delete", in_the_other, 1),
    ],
)
def test_a_session_that_is_used_again_stays(verb: str, method: str, happens: Callable[..., None], done: int) -> None:
    store = Busy(method, happens)
    for session_id in "ab":
        with Session(session_id, store=store) as session:
            session.add_message("user", "old")
            if verb == "delete_archived":
                session.archive()
    time.sleep(0.001)
    store.begin()
    assert VERBS[verb](SessionManager(store)) == done
    active = SessionManager(store).list(status="active").items
    assert len(active) == 2 - done
    for header in active:
        assert [m.text for m in Session(header.session_id, store=store).messages] == ["old", "I am back"]


def test_a_session_that_is_gone_is_not_counted_as_archived() -> None:
    def gone(store: Busy, session_id: str) -> None:
        for one in "ab":
            Session(one, store=store).delete()
        say(store, "b")  # another under its id

    store = Busy("commit", gone)
    say(store, "a", "b")
    time.sleep(0.001)
    store.begin()
    assert SessionManager(store).archive_inactive(AGO) == 0
    assert [h.status for h in SessionManager(store).list()] == ["active"]


def many() -> Busy:
    """More sessions than a page has. The one that was changed longest ago is changed before the second page is read."""
    store = Busy("next page", lambda store, query: say(store, "s0"))
    for number in range(1001):
        say(store, f"s{number}")
    store.begin()
    return store


@pytest.mark.parametrize("clear", [SessionManager.clear_all, lambda manager: manager.delete_user("default_user")])
def test_a_session_that_changes_while_all_are_listed_is_deleted_too(clear: Callable[[SessionManager], int]) -> None:
    store = many()
    assert clear(SessionManager(store)) == 1001
    assert not store.logs()


def test_a_session_that_changes_while_all_are_listed_is_copied_too() -> None:
    target = MemorySessionStore()
    assert copy_store(many(), target).sessions == 1001
    assert Session("s0", store=target).message_count == 2
