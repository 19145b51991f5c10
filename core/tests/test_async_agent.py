"""`AsyncAgent`: as `Agent` is, awaited; its own session, others by id, closing."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.stores import url_of

from sessile import Agent, AsyncAgent, AsyncSession, MemorySessionStore, Session, SessionManager
from sessile.errors import Closed, InvalidInput
from sessile.session.live import open_sessions
from sessile.testing import ScriptedModel


def running(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


@running
async def test_it_remembers_as_an_agent_does(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path / "store")
    async with AsyncAgent("A", model=ScriptedModel("one", "two three"), memory={"session_id": "s"}, db=url) as agent:
        assert await agent.chat("first", metadata={"k": 1}) == "one"
        assert [piece async for piece in agent.stream("second")] == ["two ", "three"]
        assert isinstance(agent.session, AsyncSession)
    with Agent("A", model=ScriptedModel("four"), memory={"session_id": "s"}, db=url) as agent_:
        assert agent_.start("third") == "four"
        assert [m.text for m in agent_.session.messages] == ["first", "one", "second", "two three", "third", "four"]
    with pytest.raises(Closed, match="agent 'A' is closed"):
        await agent.chat("x")
    with pytest.raises(Closed, match="agent 'A' is closed"):
        agent.stream("x", session_id="other")


@running
async def test_it_speaks_in_other_sessions_by_their_ids() -> None:
    store = MemorySessionStore()
    async with AsyncAgent("A", model="echo", db=store) as agent:
        assert await asyncio.gather(*(agent.chat(f"in {n}", session_id=f"s{n % 3}") for n in range(9))) == [
            f"in {n}" for n in range(9)
        ]
        assert [piece async for piece in agent.stream("more words", session_id="s0")] == ["more ", "words"]
    counts = {header.session_id: header.count for header in SessionManager(store).each()}
    assert counts == {"s0": 8, "s1": 6, "s2": 6}


@running
async def test_the_least_recently_used_is_closed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Tells:
        async def on_session_close(self, session: Any, session_id: str) -> None:
            closed.append(session_id)

    monkeypatch.setattr(open_sessions, "MOST", 2)
    agent = AsyncAgent("A", model="echo", db=Tells())
    for number in range(4):
        await agent.chat("x", session_id=f"s{number}")
    assert closed == ["s0", "s1"]
    await agent.close()
    assert sorted(closed) == ["s0", "s1", "s2", "s3"]


@running
async def test_an_agent_is_made_in_a_session_of_its_own_face() -> None:
    session, blocking = AsyncSession("s", store=MemorySessionStore()), Session("b", store=MemorySessionStore())
    made = session.Agent("B", model="echo")
    assert type(made) is AsyncAgent
    assert session.agent is made
    assert await made.chat("x") == await session.chat("x") == "x"
    assert type(blocking.Agent("B")) is Agent
    for kind, other in ((Agent, session), (AsyncAgent, blocking)):
        with pytest.raises(InvalidInput, match=rf"in which {kind.__name__} cannot speak"):
            kind("C", session=other)  # type: ignore[arg-type]
    async with AsyncSession("t", store=MemorySessionStore(), agent=Agent("A", model="echo")) as third:
        assert await third.chat("x") == "x"  # who speaks is told; its own session is another


@running
async def test_a_default_agent_is_of_the_sessions_face(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SESSILE_MODEL", "echo")
    session = AsyncSession("s", store=MemorySessionStore())
    assert await session.chat("x") == "x"
    assert type(session.agent) is AsyncAgent
    assert await session.agent.chat("y") == "y"
    assert await session.message_count == 4
