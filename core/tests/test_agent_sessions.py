"""The sessions that an agent opens by itself: kept open, but not for ever, and closed with it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncAgent, AsyncSession, MemorySessionStore, Request, Session, SessionManager, hookimpl
from sessile.errors import Closed, InvalidMessage, SessionNotFound
from sessile.plugins.discovery import installed
from sessile.session import DefaultSessionStore
from sessile.testing.limits import at_once

MOST = 1000  # sessions that are kept open


class Closings:
    """Counts which sessions were closed. A registered adapter is `db=` of an agent."""

    def __init__(self) -> None:
        self.closed: Counter[str] = Counter()

    @hookimpl
    def on_session_close(self, session_id: str) -> None:
        self.closed[session_id] += 1


class Waiting:
    """A model that answers once it is told to."""

    def __init__(self) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()

    def generate(self, request: Request) -> str:
        if request.messages[-1].content == "wait":
            self.asked.set()
            assert self.go_on.wait(60)
        return "well"


def test_an_agent_keeps_so_many_sessions_open_and_loses_nothing_of_those_it_closes() -> None:
    db = Closings()
    agent = Agent("A", model="echo", db=db)
    for number in range(MOST + 2):
        agent.chat("one", session_id=str(number))
        agent.chat("two", session_id="0")  # used again and again: it stays
    assert db.closed == {"1": 1, "2": 1}
    agent.chat("three", session_id="1")
    assert db.closed == {"1": 1, "2": 1, "3": 1}
    assert agent.chat("four", session_id="3") == "four"
    agent.close()
    assert {name: count for name, count in db.closed.items() if count > 1} == {"1": 2, "3": 2}
    assert len(db.closed) == MOST + 2
    agent.close()
    assert sum(db.closed.values()) == MOST + 4


@pytest.mark.parametrize("url", ["memory://", "sqlite:///sessions.db"])
def test_what_was_said_in_a_session_that_was_closed_meanwhile_is_still_there(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Counting:
        def generate(self, request: Request) -> str:
            return str(len(request.messages))

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sessile.session.live.open_sessions.MOST", 2)
    with Agent("A", model=Counting(), memory={"session_id": "own", "db": url}) as agent:
        assert [agent.chat("hi", session_id=name) for name in "abcabc"] == ["1", "1", "1", "3", "3", "3"]
        assert agent.chat("hi") == "1"
        own = agent.session
    assert own.closed
    for call in (lambda: agent.chat("hi", session_id="a"), lambda: agent.stream("hi", session_id="d"), lambda: agent.chat("hi")):
        with pytest.raises(Closed):
            call()


@pytest.mark.parametrize("way", ["chat", "stream"])
@pytest.mark.parametrize("ends", ["others", "close"])
def test_a_session_in_use_is_not_closed_under_its_user(way: str, ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sessile.session.live.open_sessions.MOST", 1)
    model, db = Waiting(), Closings()
    agent = Agent("A", model=model, db=db)
    said: list[Any] = []

    def speak() -> None:
        said.append(agent.chat("wait", session_id="a") if way == "chat" else "".join(agent.stream("wait", session_id="a")))

    thread = threading.Thread(target=speak)
    thread.start()
    assert model.asked.wait(60)
    if ends == "close":
        agent.close()
    else:
        assert [agent.chat("hi", session_id=name) for name in "bc"] == ["well", "well"]
    assert db.closed["a"] == 0
    model.go_on.set()
    thread.join(60)
    assert said == ["well"]
    assert db.closed["a"] == 1
    agent.close()


def test_what_is_wrong_with_a_message_is_said_when_it_is_passed() -> None:
    with Agent("A", model="echo", db=Closings()) as agent:
        for own in (None, "other"):
            with pytest.raises(InvalidMessage):
                agent.stream("\ud800", session_id=own)
        assert "".join(agent.stream("fine", session_id="other")) == "fine"


def test_a_session_that_was_deleted_can_be_begun_anew(tmp_path: Path) -> None:
    url = f"file://{tmp_path}"
    with Agent("A", model="echo", memory={"db": url}) as agent, SessionManager(url) as manager:
        agent.chat("one", session_id="a")
        assert manager.delete("a")
        with pytest.raises(SessionNotFound):
            agent.chat("two", session_id="a")
        assert agent.chat("three", session_id="a") == "three"
        assert Session("a", store=url).message_count == 2


def test_an_agent_is_closed_in_async_code_too() -> None:
    async def main() -> None:
        db = Closings()
        async with AsyncAgent("A", model="echo", db=db) as agent:
            await agent.chat("one", session_id="a")
        assert (agent.closed, db.closed) == (True, {"a": 1})
        async with AsyncSession("s", store=MemorySessionStore(), agent=Agent(model="echo")) as session:
            own = session.Agent("B", model="echo")
            async with own:
                assert await own.chat("one") == "one"
            assert not session.closed
            assert await session.chat("two") == "two"

    asyncio.run(main())


def test_a_store_of_sessions_by_id_closes_those_used_longest_ago(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin, closed = tmp_path / "closings.py", tmp_path / "closed"
    plugin.write_text(
        "from sessile import hookimpl\n\n\n@hookimpl\ndef on_session_close(session_id):\n"
        f"    with open({str(closed)!r}, 'a') as file:\n        print(session_id, file=file)\n"
    )
    monkeypatch.setenv("SESSILE_PLUGINS", str(plugin))
    installed.cache_clear()
    try:
        store = DefaultSessionStore(MemorySessionStore())
        for number in range(MOST + 3):
            assert store.add_user_message(str(number), "hi")
        assert closed.read_text().split() == ["0", "1", "2"]
        store.invalidate_cache()
        assert sorted(closed.read_text().split()) == sorted(str(number) for number in range(MOST + 3))
        assert [m["content"] for m in store.get_chat_history("0")] == ["hi"]
    finally:
        installed.cache_clear()


def test_an_agent_that_threads_use_first_speaks_in_one_session() -> None:
    for _ in range(20):
        agent = Agent("A", model="echo")
        at_once(*[lambda agent=agent: agent.chat("hi") for _ in range(4)])
        assert agent.session.message_count == 8


def test_an_agent_that_is_closed_says_so_in_its_own_session_too() -> None:
    agent = Agent("A", model="echo", memory={"session_id": "x"}, db="memory://closed-agent")
    agent.chat("1")
    agent.close()
    for talk in (agent.chat, agent.stream):
        for session_id in (None, "x", "y"):
            with pytest.raises(Closed, match="agent 'A' is closed: make a new one"):
                talk("2", session_id=session_id)
