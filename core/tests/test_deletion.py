"""Deleting that is cut short, or meets what cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import CorruptStore
from sessile.store import Query
from sessile.testing.deleting import Cut, CutStore


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
    """Some of its headers cannot be read."""

    broken: tuple[str, ...] = ()

    def load(self, session_id: str) -> Any:
        if session_id in self.broken:
            raise CorruptStore(f"the header of {session_id!r} is broken")
        return super().load(session_id)

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
    assert [header.session_id for header in manager.list(status="deleted")] == ["b"]
    store.broken = ()
    assert manager.sweep(repair=True, older_than=0) == 1
    assert manager.sweep(older_than=0) == 0
