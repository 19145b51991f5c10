"""A store around another one, opened by a URL."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sessile import Agent, AsyncSession, Session, SessionManager
from sessile.errors import NotInstalled
from sessile.store import open_store
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
