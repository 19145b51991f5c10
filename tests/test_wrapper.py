"""A store around another one, opened by a URL."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session, SessionManager, hookimpl
from sessile.errors import Closed, CorruptStore, InvalidInput, NotInstalled, StoreError
from sessile.store import JSON, Entry, Header, StoreWrapper, from_json, open_store, to_json
from tests.documents import Documents
from tests.wrapping import Plugin, Reversed


@pytest.mark.parametrize("scheme", ["sqlite:///", "file:"])
def test_what_a_wrapper_keeps_is_read_through_it_alone(scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    url, plugins = f"reversed+{scheme}chats", [Plugin()]
    with Session("s", store=url, plugins=plugins, agent=Agent(model="echo")) as session:
        session.chat("a secret")
        session.state["k"] = "another"
        fork = session.fork(1)
        fork.add_message("assistant", "elsewhere", raw="<original>")
        assert session.verify()
        assert fork.verify()

    async def read() -> None:
        async with AsyncSession("s", store=url, plugins=plugins) as session:
            assert next(said.text for said in await session.messages) == "a secret"
            assert await session.get_state("k") == "another"
            assert await session.message_count == 2

    asyncio.run(read())
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert kept
    assert not any(text in kept for text in (b"a secret", b"another", b"elsewhere", b"original"))


def test_who_searches_through_a_wrapper_finds_what_was_said(tmp_path: Path) -> None:
    inner = open_store(f"sqlite:///{tmp_path}/chats.db")
    store = Reversed(inner)
    with Session("s", user_id="ann", store=store) as session:
        session.add_message("user", "the blue house")
    with SessionManager(store) as manager:
        assert [hit.session_id for hit in manager.search("blue", user_id="ann")] == ["s"]
        assert [header.session_id for header in manager.list(user_id="ann")] == ["s"]
    store.close()


def test_a_wrapper_that_nobody_registers_is_named() -> None:
    with pytest.raises(NotInstalled, match="no store named 'vault\\+memory'"):
        Session("s", store="vault+memory://")


class Vault(StoreWrapper):
    """Hides all that a wrapper may change, and can refuse to read a session."""

    broken = ""

    def entry_in(self, entry: Entry) -> Entry:
        return attrs.evolve(entry, body={"v": to_json(entry.body)[::-1]})

    def entry_out(self, entry: Entry) -> Entry:
        return attrs.evolve(entry, body=from_json(entry.body["v"][::-1]))

    def changes_in(self, session_id: str, changes: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return {name: {"v": to_json(value)[::-1]} if name == "state" else value for name, value in changes.items()}

    def header_out(self, header: Header) -> Header:
        if header.session_id == self.broken:
            raise CorruptStore(f"session {header.session_id!r} cannot be decrypted", user_id=header.user_id)
        return attrs.evolve(header, state=from_json(header.state["v"][::-1]) if header.state else {})


@pytest.mark.parametrize("scheme", ["sqlite:///", "file:"])
def test_a_sweep_without_the_wrapper_leaves_forks_whole(scheme: str, tmp_path: Path) -> None:
    plain = open_store(f"{scheme}{tmp_path}/chats")
    vault = Vault(plain)
    parent = Session("parent", store=vault)
    parent.add_message("user", "precious")
    fork = parent.fork(session_id="fork")
    fork.set_state("k", "v")
    parent.delete()
    assert SessionManager(plain).sweep(repair=True, older_than=0) == 0
    assert [said.text for said in Session("fork", store=vault).messages] == ["precious"]
    assert fork.verify()
    assert SessionManager(plain).clear_all() == 1
    assert SessionManager(plain).sweep(older_than=0) == 0
    plain.close()


def test_a_session_that_a_wrapper_cannot_read_hides_no_other(tmp_path: Path) -> None:
    vault = Vault(open_store(f"sqlite:///{tmp_path}/chats.db"))
    for name in ("bad", "good", "fine"):
        Session(name, user_id="ann", store=vault).add_message("user", "hello")
    vault.broken = "bad"
    with SessionManager(vault) as manager:
        assert sorted(header.session_id for header in manager.list().items) == ["fine", "good"]
        assert {hit.session_id for hit in manager.search("hello")} == {"fine", "good"}
        with pytest.raises(CorruptStore, match="cannot be decrypted"):
            Session("bad", store=vault)
        assert manager.delete("bad")
        vault.broken = ""
        assert not manager.exists("bad")
        vault.broken = "good"
        assert manager.clear_all() == 2
        assert not manager.exists("fine")
    vault.close()


class Guard(StoreWrapper):
    """Counts what is read, and lets nobody write."""

    reads = 0

    def load(self, session_id: str) -> Header | None:
        self.reads += 1
        return super().load(session_id)

    def commit(self, session_id: str, **how: Any) -> None:
        raise StoreError("this store is read-only")


def test_methods_that_a_wrapper_overrides_are_used_under_both_faces() -> None:
    guard = Guard(MemorySessionStore())
    with Session("a", store=guard) as session, pytest.raises(StoreError, match="read-only"):
        session.add_message("user", "x")
    assert session.store.reads
    before = guard.reads

    async def main() -> None:
        async with AsyncSession("a", store=guard) as session:
            assert await session.get_history(5) == []
            with pytest.raises(StoreError, match="read-only"):
                await session.add_message("user", "x")

    asyncio.run(main())
    assert guard.reads > before


def test_what_is_put_into_a_wrapper(tmp_path: Path) -> None:
    with Session("s", store=StoreWrapper(Documents())) as session:
        session.add_message("user", "hello")
        assert [said.text for said in session.messages] == ["hello"]
    for wrong in (object(), f"sqlite:///{tmp_path}/x.db", None):
        with pytest.raises(InvalidInput, match="around which nothing can be put"):
            StoreWrapper(wrong)


class Aliased:
    """Registers a wrapper under two names."""

    @hookimpl
    def register(self, registry: Any) -> None:
        registry.add("wrapper", "reversed", "tests.wrapping:Reversed", aliases=["back"])


def test_a_wrapper_is_found_by_an_alias() -> None:
    with Session("s", store="back+memory://", plugins=[Aliased()]) as session:
        assert isinstance(session.store, Reversed)


class Refuses(StoreWrapper):
    def __init__(self, store: Any) -> None:
        self.wrapped.append(store)
        raise ValueError("no key")

    wrapped: list[Any] = []  # noqa: RUF012


class Refusing:
    @hookimpl
    def register(self, registry: Any) -> None:
        registry.add("wrapper", "refuses", f"{__name__}:Refuses")


def test_a_store_is_closed_where_its_wrapper_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no key"):
        Session("s", store=f"refuses+sqlite:///{tmp_path}/x.db", plugins=[Refusing()])
    with pytest.raises(Closed):
        Refuses.wrapped[0].load("s")


def test_what_was_stored_without_a_wrapper_is_not_readable_through_it(tmp_path: Path) -> None:
    plain = open_store(f"sqlite:///{tmp_path}/chats.db")
    Session("without", store=plain).add_message("user", "a fox")
    Session("with state", store=plain).set_state("k", "v")
    vault = Vault(plain)
    Session("with", store=vault).add_message("user", "another fox")
    with pytest.raises(CorruptStore, match="was it stored without it"):
        Session("without", store=vault).messages  # noqa: B018
    with pytest.raises(CorruptStore, match="the header of session 'with state'"):
        Session("with state", store=vault)
    manager = SessionManager(vault)
    assert [hit.session_id for hit in manager.search("fox")] == ["with"]
    assert "with state" not in {header.session_id for header in manager.list().items}
    plain.close()


def test_a_wrapper_can_be_copied() -> None:
    guard = Guard(MemorySessionStore())
    copied = copy.copy(guard)
    copied.load("s")
    assert (guard.reads, copied.reads) == (0, 1)
