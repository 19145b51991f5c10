"""Services: what a plugin gives a session to hold."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session, hookimpl
from sessile.errors import Closed, InvalidInput, NotInstalled, PluginError
from sessile.plugins import steer

closed: list[str] = []


class Memory:
    """A service that counts what is said."""

    def __init__(self, session: Any, option: Any) -> None:
        if option == "bad":
            raise ValueError("no such memory")
        self.session, self.option = session, option

    def close(self) -> None:
        closed.append("memory")


class Knowledge(Memory):
    """One that uses another, and is closed by awaiting."""

    def __init__(self, session: Any, option: Any) -> None:
        super().__init__(session, option)
        self.memory = session.memory

    async def close(self) -> None:  # type: ignore[override]
        await asyncio.sleep(0)
        closed.append("knowledge")
        if self.option == "breaks":
            raise ValueError("cannot close")


class Plugin:
    @hookimpl
    def register(self, registry: Any) -> None:
        registry.add("service", "memory", f"{__name__}:Memory")
        registry.add("service", "knowledge", f"{__name__}:Knowledge")


@pytest.fixture(autouse=True)
def _nothing_closed() -> None:
    closed.clear()


def test_a_service_is_made_once_of_the_option_and_closed_in_reverse() -> None:
    with Session("s", store=MemorySessionStore(), plugins=[Plugin()], memory={"top": 3}) as session:
        made: list[Any] = []
        threads = [threading.Thread(target=lambda: made.append(session.knowledge)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {id(one) for one in made} == {id(session.service("knowledge"))}
        assert session.knowledge.option is None
        assert session.knowledge.memory is session.memory
        assert (session.memory.option, session.memory.session) == ({"top": 3}, session)
        session.add_message("user", "x")
        fork = session.fork()
        assert fork.memory is not session.memory
        assert (fork.memory.option, fork.memory.session) == ({"top": 3}, fork)
        fork.close()
        assert closed == ["memory"]
    assert closed == ["memory", "knowledge", "memory"]
    with pytest.raises(Closed):
        session.memory  # noqa: B018


def test_services_of_an_async_session() -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore(), plugins=[Plugin()], knowledge="docs") as session:
            assert session.knowledge.memory.session is session
        assert closed == ["knowledge", "memory"]

    asyncio.run(main())


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_a_bad_option_is_an_error_where_it_is_passed(face: Any) -> None:
    with pytest.raises(ValueError, match="no such memory"):
        face("s", store=MemorySessionStore(), plugins=[Plugin()], memory="bad")
    with pytest.raises(ValueError, match="no such memory"):
        face("s", store=MemorySessionStore(), plugins=[Plugin()], knowledge=True, memory="bad")


def test_a_service_that_nobody_gives_and_one_that_was_refused() -> None:
    with Session("s", store=MemorySessionStore()) as session, pytest.raises(NotInstalled, match="no service named 'memory'"):
        session.memory  # noqa: B018
    with (
        Session("s", store=MemorySessionStore(), plugins=[Plugin()], memory=False) as session,
        pytest.raises(InvalidInput, match="opened with memory=False"),
    ):
        session.memory  # noqa: B018


def test_an_agent_hands_its_knowledge_to_the_session_that_it_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "giving.py"
    file.write_text(
        "from sessile import hookimpl\n"
        "class Knowledge:\n"
        "    def __init__(self, session, option):\n"
        "        self.option = option\n"
        "@hookimpl\n"
        "def register(registry):\n"
        "    registry.add('service', 'knowledge', f'{__name__}:Knowledge')\n"
    )
    monkeypatch.setenv("SESSILE_PLUGINS", str(file))
    steer((), ())  # look again
    try:
        with Agent("A", model="echo", knowledge=["a.txt"]) as agent:
            assert agent.session.knowledge.option == ["a.txt"]
        with Session("s", store=MemorySessionStore()) as session, pytest.raises(InvalidInput, match="pass it to the Session"):
            session.Agent("A", knowledge=["a.txt"])
    finally:
        monkeypatch.delenv("SESSILE_PLUGINS")
        steer((), ())


def test_one_that_fails_to_close_keeps_no_other_open(caplog: pytest.LogCaptureFixture) -> None:
    Session("s", store=MemorySessionStore(), plugins=[Plugin()], knowledge="breaks").close()
    assert closed == ["knowledge", "memory"]
    assert "cannot close" in caplog.text
    with pytest.raises(PluginError, match="cannot close"):
        Session("s", store=MemorySessionStore(), plugins=[Plugin()], knowledge="breaks", strict=True).close()
    assert closed == ["knowledge", "memory"] * 2


def test_services_are_closed_though_a_hook_fails() -> None:
    class Fails:
        def on_session_close(self) -> None:
            raise ValueError("no")

    session = Session("s", store=MemorySessionStore(), plugins=[Plugin(), Fails()], memory=True, strict=True)
    with pytest.raises(PluginError, match="on_session_close"):
        session.close()
    assert closed == ["memory"]
    assert session.closed
