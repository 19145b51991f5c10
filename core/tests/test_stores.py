"""How stores and models are found by URL or name, and who shares one."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session, SessionManager, hookimpl
from sessile.errors import InvalidInput, NotInstalled
from sessile.log.ids import new_id
from sessile.plugins.active import Plugins
from sessile.plugins.registry import Registry
from sessile.store.opening import find_store
from sessile.testing.limits import at_once, within


def messages_of(face: Any, url: str, **options: Any) -> list[str]:
    """What is stored under "s", seen through a new session of a face."""

    async def awaited() -> list[str]:
        async with AsyncSession("s", store=url, **options) as session:
            return [m.text for m in await session.messages]

    return [m.text for m in Session("s", store=url, **options).messages] if face is Session else asyncio.run(awaited())


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_a_memory_store_without_a_name_is_new_each_time(face: Any) -> None:
    session = Session("s", store="memory://")
    session.add_message("user", "x")
    fork = session.fork()
    assert messages_of(face, "memory://") == []
    session.close()
    assert [m.text for m in fork.messages] == ["x"], "a fork keeps the store of its parent open"
    url = f"memory://{face.__name__}"
    named = Session("s", store=url)
    named.add_message("user", "y")
    assert messages_of(face, url) == ["y"]


@pytest.mark.parametrize("face", [Session, AsyncSession])
@pytest.mark.parametrize("url", ["file:chats", "sqlite:///chats.db"])
def test_a_relative_url_is_the_same_store_wherever_the_process_goes(
    url: str, face: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there %41?"
    for place in (here, there):
        place.mkdir()
    monkeypatch.chdir(here)
    session = Session("s", store=url)
    session.add_message("user", "here")
    monkeypatch.chdir(there)
    session.add_message("user", "still here")
    assert messages_of(face, url) == []
    other = Session("s", store=url)
    other.add_message("user", "there")
    monkeypatch.chdir(here)
    assert messages_of(face, url) == ["here", "still here"]
    assert other.store is not session.store
    assert Session("s", store=url).store is session.store
    assert [m.text for m in other.messages] == ["there"]
    assert sorted(path.name for path in there.iterdir()) == sorted(path.name for path in here.iterdir())


def test_a_store_instance_stays_where_it_was_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sessile import FileSessionStore, SQLiteSessionStore  # type: ignore[attr-defined]

    monkeypatch.chdir(tmp_path)
    stores = [FileSessionStore("chats"), SQLiteSessionStore("chats.db")]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for store in stores:
        Session("s", store=store).add_message("user", "x")
    assert not list(Path.cwd().iterdir())


def test_an_absolute_file_url_in_every_form(tmp_path: Path) -> None:
    Session("s", store=f"file://{tmp_path}/chats").add_message("user", "x")
    assert messages_of(Session, f"file:{tmp_path}/chats") == ["x"]
    for url in ("file:", "file:///", "file://host/x"):
        with pytest.raises(InvalidInput, match="names no path"):
            Session("s", store=url)


class Provider:
    """A plugin that registers a model and a store under names that others have, too."""

    def __init__(self, key: str) -> None:
        self.key = key

    @hookimpl
    def register(self, registry: Registry) -> None:
        registry.add("model", "tenant", f"test_stores_{self.key}:Model")
        registry.add("store", "tenant", f"test_stores_{self.key}:Store")


@pytest.fixture
def tenants(monkeypatch: pytest.MonkeyPatch) -> tuple[Provider, Provider]:
    for key in ("one", "two"):
        module: Any = type(sys)(f"test_stores_{key}")

        class Model:
            def __init__(self, variant: str = "", key: str = key) -> None:
                self.key = key

            def generate(self, request: Any) -> str:
                return self.key

        class Store(MemorySessionStore):
            def __init__(self, url: str, key: str = key) -> None:
                super().__init__()
                self.key = key
                self.private = False

            @classmethod
            def from_url(cls, url: str) -> Any:
                return cls(url)

        module.Model, module.Store = Model, Store
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return Provider("one"), Provider("two")


def test_a_name_or_url_never_brings_another_plugins_model_or_store(tenants: tuple[Provider, Provider]) -> None:
    for plugin in (*tenants, *tenants):
        session = Session("s", store="tenant://shared", plugins=[plugin], agent=Agent(model="tenant:x"))
        assert (session.store.key, session.chat("hello")) == (plugin.key, plugin.key)  # type: ignore[attr-defined]

    async def main() -> None:
        for plugin in tenants:
            options: Any = {"plugins": [plugin], "agent": Agent(model="tenant:x")}
            async with AsyncSession("s", store="tenant://shared", **options) as session:
                assert await session.chat("hello") == session.store.key == plugin.key

    asyncio.run(main())


class Wrapping:
    """A plugin whose store is the one that the rest of the URL names, which it opens."""

    @hookimpl
    def register(self, registry: Registry) -> None:
        registry.add("store", "wrapping", "test_stores_wrapping:open_over")


def test_a_store_that_opens_another_is_opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plugins, url = Plugins(extra=[Wrapping()]), f"wrapping:+wrapping:+memory://{new_id()}"
    callers, opened, stores = Semaphore(0), [], []

    def open_over(url: str) -> Any:
        opened.append(url)
        rest = url.partition("+")[2]
        for _ in range(5 if rest.startswith("wrapping") else 0):
            callers.acquire()
        return find_store(rest, plugins=plugins)[0]

    def use() -> None:
        callers.release()
        stores.append(find_store(url, plugins=plugins)[0])

    module: Any = type(sys)("test_stores_wrapping")
    module.open_over = open_over
    monkeypatch.setitem(sys.modules, module.__name__, module)
    within(30, "opening", lambda: at_once(*[use] * 5))
    assert len({id(store) for store in stores}) == 1
    assert opened == [url, url.partition("+")[2]]


def test_what_the_installed_plugins_made_is_shared_by_sessions_with_plugins_of_their_own(
    tenants: tuple[Provider, Provider], tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    sessions = [Session(store=url, plugins=plugins) for plugins in ([], [tenants[0]], [tenants[1]])]
    assert len({id(session.store) for session in sessions}) == 1
    assert len({id(Agent(model="echo").find_model(s._handle.plugins)) for s in sessions}) == 1


@pytest.mark.parametrize(
    ("kind", "name", "hint"),
    [
        ("store", "sqlit", "Did you mean 'sqlite'?"),
        ("store", "postgress", "Did you mean 'postgres'?"),
        ("model", "echoo", "Did you mean 'echo'?"),
        ("model", "gpt-5", "Install the plugin that registers this name"),
        ("transport", "http", "Install the plugin that registers this name"),
    ],
)
def test_a_hint_names_no_package_that_does_not_exist(kind: str, name: str, hint: str) -> None:
    registry = find_and_registry()
    with pytest.raises(NotInstalled) as caught:
        registry.find(kind, name)
    assert hint in str(caught.value)
    assert "pip install" not in str(caught.value)


def find_and_registry() -> Registry:
    from sessile.plugins.discovery import installed

    return installed().registry


def test_a_hint_names_the_package_where_it_is_known() -> None:
    empty = Registry()
    for kind, name, package in (
        ("store", "postgresql", "Try: pip install sessile-postgres"),
        ("model", "openai", "Try: pip install sessile-openai"),
        ("store", "sqlit", r"Did you mean 'sqlite' \(pip install sessile-sqlite\)\?"),
    ):
        with pytest.raises(NotInstalled, match=package):
            empty.find(kind, name)


def test_a_manager_and_a_session_share_the_store_of_a_url(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/chats"
    store, release = find_store(url)
    with SessionManager(url) as manager:
        assert manager.store is store
    Session("s", store=store).add_message("user", "still open")
    release()


def test_a_store_that_no_url_names_goes_with_its_session() -> None:
    gone = []
    for _ in range(3):
        session = Session(store="memory://")
        session.add_message("user", "x")
        child = session.fork()
        session.close()
        assert child.message_count == 1  # as it shares the store
        gone.append(weakref.ref(child.store))
        del session, child
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


@pytest.mark.parametrize("url", ["redis:u:sEcret@h", "postgresql:u:sEcret@h/d", "mongodb:sEcret:sEcret@h"])
def test_no_password_is_shown_of_an_address_without_slashes(url: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        Session("s", store=url)
    assert "sEcret" not in str(caught.value)
