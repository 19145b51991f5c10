"""A user's program. Both type checkers see each value as it is used, and find nothing wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Literal, assert_type

from openai import OpenAI

from sessile import (
    Agent,
    AsyncAgent,
    AsyncSession,
    AsyncSessionManager,
    Committed,
    Diff,
    Entry,
    FileSessionStore,
    Header,
    Hit,
    MemorySessionStore,
    Message,
    MongoSessionStore,
    Page,
    PostgresSessionStore,
    RedisSessionStore,
    Request,
    Result,
    Role,
    Runner,
    Session,
    SessionManager,
    SessionStore,
    Snapshot,
    Span,
    SQLiteSessionStore,
    Tool,
    ToolCall,
    Turn,
    Usage,
    Verification,
    hookimpl,
    tool,
)
from sessile.errors import Conflict
from sessile.models import EchoModel, TokenUsage
from sessile.plugins import AwaitNext, CallNext
from sessile.session import get_default_session_store
from sessile.sessions import SQLiteSessionStore as Same
from sessile.testing import ScriptedModel
from sessile_sqlite import SQLiteSessionStore as Again

# models


class Whole:
    def generate(self, request: Request) -> str:
        return request.messages[-1].text


class Said:
    async def generate(self, request: Request) -> dict[str, Any]:
        usage: TokenUsage = {"input_tokens": 3, "output_tokens": 1}
        return {"content": "x", "metadata": {"usage": usage}}


class Yields:
    def generate(self, request: Request) -> Iterator[str]:
        yield "x"


class AsyncYields:
    async def generate(self, request: Request) -> AsyncIterator[str]:
        yield "x"


def look(where: str) -> str:
    return where


@tool(risky=True)
def risky(where: str) -> str:
    return where


assert_type(tool(look), Tool)
assert_type(risky, Tool)

for model in (Whole(), Said(), Yields(), AsyncYields(), EchoModel(), ScriptedModel("x"), "echo", None):
    agent = Agent("A", "Be brief.", model=model, tools=[look, risky], options={"temperature": 0})
assert_type(agent.chat("x"), str)
assert_type(agent.session, Session)
assert_type(agent.start("x", metadata={"k": 1}), str)
assert_type(agent.stream("x"), Iterator[str])
assert_type(Runner.run(agent, "x"), Result)

# middleware


def around(turn: Turn[Session], call_next: Callable[[Turn], Message]) -> Message:
    assert_type(turn.message, Message)
    assert_type(turn.session.messages, list[Message])
    return call_next(turn)


async def around_async(turn: Turn[AsyncSession], call_next: AwaitNext) -> Message:
    assert_type(await turn.session.messages, list[Message])
    return await call_next(turn)


def around_again(turn: Turn, call_next: CallNext) -> str:
    return call_next().text


def after(message: str, response: str) -> str:
    return response


class Plugin:
    @hookimpl
    def build_context(self, turn: Turn, messages: list[Message]) -> list[Message]:
        return messages


# stores


class Documents(SessionStore):
    async def save(self, session: Any) -> None: ...
    async def get(self, session_id: str) -> Any: ...
    async def delete(self, session_id: str) -> None: ...
    async def list_for_user(self, user_id: str) -> list[Any]:
        return []


for store in (
    None,
    "sqlite:///x.db",
    MemorySessionStore(),
    FileSessionStore("x"),
    SQLiteSessionStore("x"),
    Same("x"),
    Again("x"),
    RedisSessionStore("redis://x"),
    PostgresSessionStore("postgresql://x"),
    MongoSessionStore("mongodb://x"),
    Documents(),
):
    Session("s", store=store)

# a session

session = Session(
    "s", user_id="u", agent=agent, agents={"a": agent}, middleware=[around, around_async, after], plugins=[Plugin()]
)
said = session.add_message("user", "x", channel="web")
assert_type(said, Message)
assert_type(said.role, Role)
assert_type(said.content, str | list[Any] | None)
assert_type(said.text, str)
assert_type(said.metadata, dict[str, Any])
assert_type(said.timestamp, float | None)
assert_type(said.tool_calls, list[ToolCall])
assert_type(said.tool_calls[0]["arguments"], dict[str, Any])
assert_type(said.replace(content="y"), Message)
role: Literal["system", "user", "assistant", "tool"] = said.role
assert_type(session.add_messages([("user", "x"), {"role": "assistant", "content": "y"}, said]), list[Message])
assert_type(session.messages, list[Message])
assert_type(session.message_count, int)
assert_type(session.get_history(5, after=said), list[Message])
assert_type(session.message("id"), Message)
assert_type(session.pop(), list[Message])
assert_type(session.commit(messages=[("user", "x")], state={"k": 1}), Committed)
assert_type(session.append("my.note", {}), Entry)
assert_type(session.entries("my.note"), list[Entry])
assert_type(session.chat("x"), str)
assert_type(session.stream("x"), Iterator[str])
assert_type(session.run_agent("a", "x"), str)
assert_type(session.changes().added, list[Span])
assert_type(session.read(session.changes().added[0]), list[Entry])
assert_type(session.usage(), Usage)
assert_type(session.usage().by_model["m"].total_tokens, int)
assert_type(session.to_openai(api="responses"), list[Any])
OpenAI().chat.completions.create(model="m", messages=session.to_openai())
OpenAI().responses.create(model="m", input=session.to_openai(api="responses"))
assert_type(session.watch(), Iterator[Message])
session.set_state("k", 1, policy="theirs")
session.set_state("k", 1, policy=lambda key, ours, theirs: ours)
session.state["k"] = 1
assert_type(session.title, str)
session.title = "x"
assert_type(session.status, str)
assert_type(session.created_at, datetime)
assert_type(session.parent, str | None)
assert_type(session.fork(), Session)
assert_type(session.edit(said, "y"), Session)
assert_type(session.merge(session.fork(), policy="ours"), Session)
assert_type(session.snapshot("x"), Snapshot)
assert_type(session.children(), list[Header])
assert_type(session.diff(1, 2), Diff)
assert_type(session.verify(), Verification)
assert_type(session.Agent("B"), Agent)
assert_type(session.agent, Agent)
assert_type(session.agent.chat("x"), str)
assert_type(session.agents["a"], Agent)
assert_type(Session.load("x", store="memory://"), Session)
assert_type(session.load("x"), Session)


class Mine(Session):
    tenant = ""


with Mine("m") as mine:
    assert_type(mine, Mine)
with session as entered, session.exclusive(timeout=1):
    assert_type(entered, Session)

# a manager

with SessionManager("sqlite:///x.db") as manager:
    assert_type(manager.create_session("u", session_id="s", exist_ok=True, strict=True), Session)
    assert_type(manager.get_session("s"), Session | None)
    assert_type(manager.get_sessions_for_user("u"), list[Session])
    assert_type(manager.list(user_id="u", before=datetime.now(UTC), limit=5), Page[Header])
    assert_type(manager.each(), Iterator[Header])
    assert_type(manager.search("x"), list[Hit])
    assert_type(manager.user("u"), SessionManager)
    assert_type(manager.delete("s"), bool)
get_default_session_store().add_user_message("s", "x")

# the other face


async def main() -> None:
    async with AsyncSession("s", agent=agent, on_conflict="raise") as session:
        assert_type(session, AsyncSession)
        assert_type(await session.messages, list[Message])
        assert_type(await session.message_count, int)
        assert_type(await session.add_message("user", "x"), Message)
        assert_type(await session.fork(), AsyncSession)
        assert_type(await session.usage(), Usage)
        assert_type(session.Agent("B"), AsyncAgent)
        assert_type(await session.Agent("B").chat("x"), str)
        assert_type(await AsyncSession.load("x"), AsyncSession)
        assert_type(session.blocking, Session)
        async for piece in session.stream("x"):
            assert_type(piece, str)
        async for message in session.watch():
            assert_type(message, Message)
        try:
            await session.set_title("x")
        except Conflict as error:
            assert_type(error, Conflict)
    async with AsyncSessionManager() as manager:
        assert_type(await manager.create_session("u"), AsyncSession)
        assert_type(await manager.get_session("s"), AsyncSession | None)
        assert_type(await manager.list(prefix="x"), Page[Header])
        async for header in manager.each():
            assert_type(header, Header)
    async with AsyncAgent("A", model=Yields()) as agent_:
        assert_type(agent_.session, AsyncSession)
        assert_type(await agent_.start("x"), str)
        async for piece in agent_.stream("x"):
            assert_type(piece, str)
