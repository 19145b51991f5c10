"""The hook `on_session_delete`: plugins are told of every session that goes, in whatever way, once it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessile import AsyncSession, AsyncSessionManager, Entry, Header, MemorySessionStore, Session, SessionManager
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import mark_deleted
from sessile.plugins import Blocking, installed, run, steer
from sessile.store import missing

PLUGIN = """
from sessile import hookimpl

told = []
is_there = None

@hookimpl
def on_session_delete(session_id, user_id, log):
    assert log.endswith(f".{session_id}")
    told.append((session_id, user_id, is_there(session_id)))
"""


class Going(MemorySessionStore):
    """Where `going` is a session's header, somebody begins to delete it as it is read, and dies."""

    going: Header | None = None

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        header = self.going
        if header is None or header.log != log:
            return super().read(log, start, stop, kind)
        self.going = None
        run(mark_deleted(Commits(Blocking(), self), header, header.log))
        raise missing(log, start, stop)


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: MemorySessionStore) -> Iterator[list[tuple[str, str, bool]]]:
    """What an installed plugin was told: (session, user, is it still there?)."""
    file = tmp_path / "telling.py"
    file.write_text(PLUGIN)
    monkeypatch.setenv("SESSILE_PLUGINS", str(file))
    steer((), ())
    installed()
    import sys

    module = next(module for name, module in sys.modules.items() if name.startswith("sessile_local_telling"))
    module.is_there = SessionManager(store).exists
    yield module.told
    monkeypatch.delenv("SESSILE_PLUGINS")
    steer((), ())


@pytest.fixture
def store() -> Going:
    store = Going()
    for name in "abc":
        Session(name, user_id="ann", store=store).add_message("user", "x")
    return store


async def _by_an_async_session(store: MemorySessionStore) -> None:
    async with AsyncSession("a", store=store) as session:
        await session.delete()


async def _by_an_async_manager(store: MemorySessionStore) -> None:
    async with AsyncSessionManager(store) as manager:
        await manager.delete("a")


WAYS: dict[str, tuple[Callable[[MemorySessionStore], Any], set[str]]] = {
    "session": (lambda store: Session("a", store=store).delete(), {"a"}),
    "async session": (lambda store: asyncio.run(_by_an_async_session(store)), {"a"}),
    "manager": (lambda store: SessionManager(store).delete("a"), {"a"}),
    "async manager": (lambda store: asyncio.run(_by_an_async_manager(store)), {"a"}),
    "a user's manager": (lambda store: SessionManager(store).user("ann").delete("a"), {"a"}),
    "inactive": (lambda store: SessionManager(store).delete_inactive(0), {"a", "b", "c"}),
    "user": (lambda store: SessionManager(store).delete_user("ann"), {"a", "b", "c"}),
    "all": (lambda store: SessionManager(store).clear_all(), {"a", "b", "c"}),
}


@pytest.mark.parametrize("way", WAYS)
def test_plugins_are_told_of_each_once_it_is_gone(way: str, store: MemorySessionStore, told: list[Any]) -> None:
    delete, names = WAYS[way]
    delete(store)
    assert sorted(told) == [(name, "ann", False) for name in sorted(names)]


def test_of_a_family_each_is_told(store: MemorySessionStore, told: list[Any]) -> None:
    session = Session("a", store=store)
    session.fork(session_id="f").fork(session_id="g")
    session.delete(cascade=True)
    assert sorted(told) == [(name, "ann", False) for name in "afg"]


def test_of_what_was_not_deleted_nobody_is_told(store: MemorySessionStore, told: list[Any]) -> None:
    Session("nothing", store=store).delete()
    SessionManager(store).delete("nothing")
    session = Session("a", store=store)
    session.set_state("user:name", "Ann")
    session.fork(session_id="f").close()
    session.revert(0)
    assert told == []


def test_one_that_fails_hinders_no_deletion(store: MemorySessionStore) -> None:
    class Failing:
        def on_session_delete(self, session_id: str) -> None:
            raise ValueError(session_id)

    Session("a", store=store, plugins=[Failing()]).delete()
    assert not SessionManager(store).exists("a")


def test_who_comes_upon_what_is_left_of_a_deletion_tells(store: Going, told: list[Any]) -> None:
    store.going = store.load("b")
    found = SessionManager(store).search("x")  # which has handles without a session
    assert {hit.session_id for hit in found} == {"a", "c"}
    assert told == [("b", "ann", False)]
