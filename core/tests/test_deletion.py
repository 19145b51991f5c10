"""Deleting that is cut short, or meets what cannot be read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import AccessDenied, CorruptStore, LockTimeout, StoreError, StoreUnavailable
from sessile.store.waist import Query
from sessile.testing.fixtures import headers
from sessile.testing.waist.deleting import Cut, CutStore


def family(store: Any) -> None:
    with Session("root", store=store) as root:
        root.add_message("user", "a")
        child = root.fork(session_id="child")
        child.fork(0, session_id="of nothing")  # inherits no entry
        child.fork(session_id="grandchild").add_message("user", "b")


def left(store: Any) -> list[str]:
    """The ids of all headers, records of sessile's own too."""
    queries = [Query(prefix=prefix, status=status) for prefix in ("", "~") for status in (None, "pending", "deleted")]
    return [header.session_id for query in queries for header in store.find(query)]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("swept", [False, True])
def test_a_cascade_that_is_cut_short_is_finished_by_another(after: bool, swept: bool) -> None:
    for calls in range(1, 1000):
        store = MemorySessionStore()
        family(store)
        try:
            SessionManager(CutStore(store, calls, after=after)).delete("root", cascade=True)
            break
        except Cut:
            manager = SessionManager(store)
            if swept:
                manager.sweep(repair=True, older_than=0)
            manager.delete("root", cascade=True)
            manager.sweep(repair=True, older_than=0)
            assert (left(store), store.logs()) == ([], []), calls
    assert calls > 10


class Broken(MemorySessionStore):
    """Some of its headers cannot be read. told: whose they are, as far as that can."""

    broken: tuple[str, ...] = ()
    told: Mapping[str, str] = {}

    def load(self, session_id: str) -> Any:
        if session_id in self.broken:
            raise CorruptStore(f"the header of {session_id!r} is broken", user_id=self.told.get(session_id))
        return super().load(session_id)

    def find(self, query: Query) -> Any:
        page = super().find(query)
        return attrs.evolve(page, items=[header for header in page if header.session_id not in self.broken])

    def prune(self, log: str, keep: int) -> None:
        if log in self.broken:
            raise CorruptStore(f"log {log!r} is broken")
        super().prune(log, keep)

    def delete(self, session_id: str, *, expected: int | None) -> None:
        if expected is None:
            self.broken = tuple(name for name in self.broken if name != session_id)
            expected = self.load(session_id).version
        super().delete(session_id, expected=expected)


def test_a_broken_fork_is_deleted_with_the_others() -> None:
    store = Broken()
    family(store)
    store.broken = ("child",)
    assert SessionManager(store).delete("root", cascade=True)
    assert (left(store), store.logs()) == ([], [])


def test_a_sweep_goes_on_past_what_is_broken_and_says_so() -> None:
    store = Broken()
    for name in "abc":
        with Session(name, store=store) as session:
            session.add_message("user", "text")
            session.fork(session_id=f"fork of {name}")
        with pytest.raises(Cut):  # marked, and no more
            SessionManager(CutStore(store, 2, after=False)).delete(name)
    manager = SessionManager(store)
    store.broken = (store.load("b").log,)
    assert manager.sweep(older_than=0) == 3
    with pytest.raises(CorruptStore, match=r"1 of the sessions and records to sweep .*log '.*b' is broken"):
        manager.sweep(repair=True, older_than=0)
    assert [header.session_id for header in headers(store, status="deleted")] == ["b"]
    store.broken = ()
    assert manager.sweep(repair=True, older_than=0) == 1
    assert manager.sweep(older_than=0) == 0


def broken_ones() -> Broken:
    """Two sessions of ann's and one of bob's, and another of each that cannot be read; one of them does not say whose it is."""
    store = Broken()
    for name in ("ann-1", "ann-2", "ann-3", "bob-1", "bob-2", "lost"):
        with Session(name, user_id=name[:3], store=store) as session:
            session.add_message("user", "text")
            session.set_state("user:language", "en")
    store.broken = ("ann-3", "bob-2", "lost", "~user:ann")
    store.told = {"ann-3": "ann", "bob-2": "bob"}
    return store


def test_a_users_sessions_go_though_some_cannot_be_read_and_those_of_nobody_are_named() -> None:
    store = broken_ones()
    with pytest.raises(CorruptStore, match=r"1 of the store's sessions cannot be read.*lost: .*3 others were deleted"):
        SessionManager(store).delete_user("ann")
    assert {log.partition(".")[2] for log in store.logs()} == {"bob-1", "bob-2", "lost", "~user:bob", "~user:los"}


def test_a_user_who_deletes_all_of_hers_is_not_told_of_others() -> None:
    store = broken_ones()
    assert SessionManager(store).user("ann").clear_all() == 3
    assert {log.partition(".")[2] for log in store.logs()} == {"bob-1", "bob-2", "lost", "~user:bob", "~user:los"}


def test_what_cannot_be_read_is_not_taken_for_inactive() -> None:
    store = broken_ones()
    assert SessionManager(store).delete_inactive(0) == 3
    assert {owner for log in store.logs() if not (owner := log.partition(".")[2]).startswith("~")} == {*store.broken} - {
        "~user:ann"
    }


def test_everything_goes_though_some_of_it_cannot_be_read() -> None:
    store = broken_ones()
    assert SessionManager(store).clear_all() == 6
    assert (left(store), store.logs()) == ([], [])
    assert SessionManager(store).clear_all() == 0


def test_a_broken_session_is_deleted_by_its_user() -> None:
    manager = SessionManager(broken_ones())
    with pytest.raises(AccessDenied):
        manager.delete("bob-2", "ann")
    with pytest.raises(CorruptStore):
        manager.user("ann").delete("lost")
    assert manager.user("ann").delete("ann-3")
    assert not manager.delete("ann-3", "ann")
    assert manager.delete("lost")


def in_use(*names: str) -> tuple[Any, MemorySessionStore]:
    """A store with these sessions of ann's, the first of which is used exclusively by another as long as this is entered."""
    store = MemorySessionStore()
    for name in names:
        Session(name, user_id="ann", store=store).add_message("user", name)
    Session(names[0], store=store).set_state("user:k", 1)
    return Session(names[0], store=store).exclusive(lease=600), store


ALL_OF: dict[str, Callable[[SessionManager], int]] = {
    "delete_user": lambda manager: manager.delete_user("ann"),
    "clear_all": lambda manager: manager.clear_all(),
    "delete_inactive": lambda manager: manager.delete_inactive(0),
    "archive_inactive": lambda manager: manager.archive_inactive(0),
}


@pytest.mark.parametrize("verb", ALL_OF)
def test_a_session_in_use_keeps_no_other_from_going(verb: str) -> None:
    lease, store = in_use("used", "a", "b", "c")
    manager = SessionManager(store, timeout=0.1)
    with lease, pytest.raises(LockTimeout, match=r"1 of the store's sessions .*used: .*used exclusively.*3 others were"):
        ALL_OF[verb](manager)
    if "archive" in verb:
        assert {header.session_id: header.status for header in manager.list()}.pop("used") == "active"
        assert len(manager.list(status="archived").items) == 3
    else:
        assert [header.session_id for header in manager.list()] == ["used"]
        assert headers(store, prefix="~user:") == [] or verb == "delete_inactive"
    assert ALL_OF[verb](manager) == 1


def test_a_session_that_is_in_use_for_a_moment_is_waited_for() -> None:
    _, store = in_use("used", "a")
    with Session("used", store=store).exclusive(lease=0.2):
        assert SessionManager(store).delete_user("ann") == 2


def test_a_cascade_waits_for_all_before_the_first_goes() -> None:
    store = MemorySessionStore()
    family(store)
    with (
        Session("child", store=store).exclusive(lease=600),
        pytest.raises(LockTimeout, match="'child' was used exclusively"),
    ):
        SessionManager(store, timeout=0.05).delete("root", cascade=True)
    assert {header.session_id for header in SessionManager(store).list()} == {"root", "child", "of nothing", "grandchild"}
    assert [m.text for m in Session("grandchild", store=store).messages] == ["a", "b"]


class Stuck(MemorySessionStore):
    """Nothing of a log can be dropped, as on a disk that is full of errors."""

    stuck = True

    def prune(self, log: str, keep: int) -> None:
        if self.stuck:
            raise StoreError("the disk is read-only")
        super().prune(log, keep)


@pytest.mark.parametrize("verb", ["delete_user", "clear_all", "delete_inactive"])
def test_what_could_not_be_erased_is_erased_when_it_is_tried_again(verb: str) -> None:
    store = Stuck()
    with Session("s", user_id="ann", store=store) as session:
        session.add_message("user", "a secret")
        session.set_state("user:k", 1)
    manager = SessionManager(store)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"s: the disk is read-only.*try again"):
            ALL_OF[verb](manager)
    store.stuck = False
    ALL_OF[verb](manager)
    assert [log for log in store.logs() if "~user" not in log or verb != "delete_inactive"] == []
    assert headers(store, status="deleted") == []


def test_what_is_kept_for_heirs_that_cannot_be_read_is_named_or_goes_with_all() -> None:
    store = Broken()
    family(store)
    manager = SessionManager(store)
    record = next(header.session_id for header in headers(store, prefix="~heirs:") if header.session_id.endswith(".root"))
    store.broken = (record,)
    manager.delete("root")
    assert [m.text for m in Session("grandchild", store=store).messages] == ["a", "b"]
    with pytest.raises(CorruptStore, match=r"~heirs:.*root: "):
        manager.delete_user("nobody")
    assert manager.user("nobody").clear_all() == 0
    assert manager.clear_all() == 3
    assert store.logs() == []


@pytest.mark.parametrize("error", [StoreUnavailable("no route to the store"), LockTimeout("the database was locked for 0.1 s")])
def test_a_store_that_is_away_or_locked_is_not_waited_for_by_each_session_in_turn(error: StoreError) -> None:
    asked: list[str] = []

    class Refusing(MemorySessionStore):
        def commit(self, session_id: str, **what: Any) -> None:
            if what["changes"].get("status") == "deleted":
                asked.append(session_id)
                threading.Event().wait(0.1)
                raise error
            super().commit(session_id, **what)

    store = Refusing()
    for name in ("a", "b", "c"):
        Session(name, user_id="ann", store=store).add_message("user", name)
    with pytest.raises(type(error), match=str(error)):
        SessionManager(store, timeout=0.05).delete_user("ann")
    assert len({*asked}) == 1
