"""`AsyncAgent`: as `Agent` is, awaited; its own session, others by id, closing."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from tests.stores import url_of

from sessile import (
    AdapterFace,
    Agent,
    AsyncAgent,
    AsyncSession,
    AsyncSessionManager,
    MemorySessionStore,
    Session,
    SessionManager,
    both_faces,
)
from sessile.errors import AccessDenied, Closed, InvalidInput
from sessile.models import Request
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
    await asyncio.sleep(0.05)
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
    for kind, manager in ((Agent, SessionManager("memory://")), (AsyncAgent, AsyncSessionManager("memory://"))):
        with pytest.raises(InvalidInput, match=r"session is .*: pass a session"):
            kind("C", session=manager)  # type: ignore[arg-type]
    for options in ({"agent": AsyncAgent("C")}, {"agents": {"c": AsyncAgent("C")}}):
        with pytest.raises(InvalidInput, match=r"agent is AsyncAgent\('C'\), which is awaited"):
            Session("c", store=MemorySessionStore(), **options)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="which is awaited"):
        blocking.agent = AsyncAgent("C")
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


class Slowly:
    """It says that it was ended, and waits between its pieces."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def generate(self, request: Request) -> Iterator[str]:
        try:
            for number in range(100):
                yield f"p{number} "
                time.sleep(0.02)
        finally:
            self.ended.set()


@pytest.mark.parametrize("session_id", [None, "other"])
@running
async def test_leaving_a_stream_ends_its_turn(session_id: str | None) -> None:
    store, model = MemorySessionStore(), Slowly()
    async with AsyncAgent("A", model=model, db=store, memory={"session_id": "own"}) as agent:
        async with aclosing(agent.stream("go", session_id=session_id)) as pieces:  # type: ignore[type-var]
            async for _ in pieces:
                break
        assert await asyncio.to_thread(model.ended.wait, 10)
        assert Session(session_id or "own", store=store).messages[-1].metadata == {"interrupted": True}


@pytest.mark.parametrize("way", ["chat", "stream"])
def test_closing_an_agent_leaves_its_store_to_a_turn_under_way(way: str, tmp_path: Path) -> None:
    url, said = url_of("sqlite", tmp_path / "store"), []

    class Few(Slowly):
        def generate(self, request: Request) -> Iterator[str]:
            begun.set()
            for number in range(10):
                time.sleep(0.02)
                yield f"p{number} "

    begun = threading.Event()
    agent = Agent("A", model=Few(), db=url)

    def speak() -> None:
        said.append(agent.chat("q", session_id="s") if way == "chat" else "".join(agent.stream("q", session_id="s")))

    thread = threading.Thread(target=speak)
    thread.start()
    assert begun.wait(10)
    agent.close()
    thread.join()
    whole = "".join(f"p{number} " for number in range(10))
    assert said == [whole]
    assert Session("s", store=url).messages[-1].content == whole


@running
async def test_closing_an_async_agent_leaves_its_store_to_a_turn_under_way(tmp_path: Path) -> None:
    url, begun = url_of("sqlite", tmp_path / "store"), asyncio.Event()

    class Few:
        async def generate(self, request: Request) -> AsyncIterator[str]:
            for number in range(10):
                begun.set()
                await asyncio.sleep(0.02)
                yield f"p{number} "

    agent = AsyncAgent("A", model=Few(), db=url)
    turn = asyncio.ensure_future(agent.chat("q", session_id="s"))
    await begun.wait()
    await agent.close()
    assert await turn == Session("s", store=url).messages[-1].content == "".join(f"p{number} " for number in range(10))


def test_an_adapters_method_speaks_with_agents_in_both_forms() -> None:
    class Adapter:
        async def _put(self, face: AdapterFace, text: str) -> list[str]:
            session = face.Session("s", store=MemorySessionStore(), agent=Agent("A", model="echo"))
            made = session.Agent("B", model="echo")
            return [await made.chat(text), await session.chat(text), *[piece async for piece in made.stream(text)]]

        async def _default(self, face: AdapterFace) -> str:
            session = face.Session("s", store=MemorySessionStore())
            return await session.agent.chat("default")  # type: ignore[misc,no-any-return]

        put, aput = both_faces(_put)
        default, adefault = both_faces(_default)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESSILE_MODEL", "echo")
        assert Adapter().put("x") == asyncio.run(Adapter().aput("x")) == ["x"] * 3
        assert Adapter().default() == asyncio.run(Adapter().adefault()) == "default"


@running
async def test_all_that_it_opened_is_closed(tmp_path: Path) -> None:
    closed: list[str] = []

    class Tells:
        def on_session_close(self, session_id: str) -> None:
            closed.append(session_id)

    agent = AsyncAgent("A", model="echo", db=Tells(), memory={"session_id": "own"})
    await agent.chat("x")
    await agent.chat("x", session_id="other")
    assert [piece async for piece in agent.stream("x", session_id="third")] == ["x"]
    with pytest.raises(InvalidInput):
        agent.stream(5, session_id="third")  # said before the stream begins
    await agent.close()
    assert sorted(closed) == ["other", "own", "third"]


@pytest.mark.parametrize("face", ["blocking", "awaited"])
def test_an_agent_of_a_session_speaks_beside_it_and_nowhere_else(face: str, sessile_store: str) -> None:
    store = MemorySessionStore()
    with SessionManager(store) as manager:
        for user in ("ann", "bob"):
            manager.create_session(user, session_id=f"of {user}")
            manager.create_session(user, session_id=f"notes of {user}")

    async def main() -> None:
        async with AsyncSessionManager(store) as manager:
            for user in ("ann", "bob"):
                session = await manager.user(user).get_session(f"of {user}")
                assert session is not None
                agent = session.Agent("A", model="echo")
                assert await agent.chat(f"I am {user}", session_id=f"notes of {user}") == f"I am {user}"
                assert [p async for p in agent.stream("more", session_id=f"notes of {user}")] == ["more"]
                with pytest.raises(AccessDenied):
                    await agent.chat("whose?", session_id="notes of bob" if user == "ann" else "notes of ann")
            unseen = AsyncSession("of ann", store=store).Agent("A", model="echo")
            with pytest.raises(AccessDenied):
                await unseen.chat("whose?", session_id="notes of bob")

    def blocking() -> None:
        with SessionManager(store) as manager:
            for user in ("ann", "bob"):
                session = manager.user(user).get_session(f"of {user}")
                assert session is not None
                agent = session.Agent("A", model="echo")
                assert agent.chat(f"I am {user}", session_id=f"notes of {user}") == f"I am {user}"
                assert list(agent.stream("more", session_id=f"notes of {user}")) == ["more"]
                with pytest.raises(AccessDenied):
                    agent.chat("whose?", session_id="notes of bob" if user == "ann" else "notes of ann")

    blocking() if face == "blocking" else asyncio.run(main())
    for user in ("ann", "bob"):
        messages = Session(f"notes of {user}", store=store).messages
        assert [message.text for message in messages] == [f"I am {user}"] * 2 + ["more"] * 2
    assert not [*SessionManager(sessile_store).each()]


@running
async def test_putting_a_session_away_keeps_no_reply_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Slow:
        async def on_session_close(self, session_id: str) -> None:
            await asyncio.sleep(0.3)
            closed.append(session_id)

    monkeypatch.setattr(open_sessions, "MOST", 1)
    agent = AsyncAgent("A", model="echo", db=Slow())
    await agent.chat("x", session_id="s0")
    assert await asyncio.wait_for(agent.chat("x", session_id="s1"), 0.2) == "x"
    await agent.close()
    assert sorted(closed) == ["s0", "s1"]
