"""The sessions of other frameworks, called as their documentation says; their libraries are imported when one is made."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks.peers.contestants import Contestant, InALoop, Said, chunks, settings, settings_of

# No traces are collected or sent, whatever this machine is set up for.
QUIET = {
    "OPENAI_AGENTS_DISABLE_TRACING": "1",
    "OTEL_SDK_DISABLED": "true",
    "LANGSMITH_TRACING": "false",
    "LANGCHAIN_TRACING_V2": "false",
}


class OpenAIAgents(InALoop):
    title = "SQLiteSession, add_items"
    package = "openai-agents"
    about = (
        "a pair is one `add_items` of two plain items, in a worker thread, one commit: one sync. It has no check of who else has "
        "written, and no turns"
    )

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from agents import SQLiteSession

        self.kind = SQLiteSession

    def open(self) -> None:
        """Each session has a connection of its own, made with its first use."""

    def opened(self, session: str) -> Any:
        return self.kind(session, self.folder / "agents.db")

    def close(self) -> None:
        for session in self.handles.values():
            session.close()
        self.handles.clear()

    async def fill(self, session: str, said: Sequence[Said]) -> None:
        for some in chunks(said):
            await self.handle(session).add_items([{"role": role, "content": text} for role, text in some])

    async def append_pair(self, session: str, question: str, answer: str) -> None:
        pair = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
        await self.handle(session).add_items(pair)

    async def last(self, session: str, count: int) -> list[Said]:
        return [(item["role"], item["content"]) for item in await self.handle(session).get_items(count)]

    async def whole(self, session: str) -> list[Said]:
        return [(item["role"], item["content"]) for item in await self.handle(session).get_items()]

    def durability(self) -> str:
        used = next(connection for handle in self.handles.values() for connection in handle._connections)
        return settings_of(used)


class OpenAIAgentsTurns(OpenAIAgents):
    title = "SQLiteSession, add_items twice"
    about = "a pair is two `add_items`, each a commit, as the runner calls it before and after the model: two syncs"

    async def append_pair(self, session: str, question: str, answer: str) -> None:
        await self.handle(session).add_items([{"role": "user", "content": question}])
        await self.handle(session).add_items([{"role": "assistant", "content": answer}])


class ADK(InALoop):
    title = "DatabaseSessionService"
    package = "google-adk"
    about = (
        "a pair is two `append_event`, each a commit that first reads the rows of the session and of its state, and refuses to "
        "write after somebody else: eight syncs, as a rollback journal takes four a commit. The URL is `sqlite+aiosqlite:///…`. "
        "The last 50 are `get_session` with `num_recent_events`. The runner, not measured, reads the whole session in each turn "
        "unless told otherwise. A new handle inspects the tables"
    )
    most = 10_000
    why = "there is no call for many events in one commit, so that filling a session of a million takes more than an hour"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from google.adk.events import Event
        from google.adk.sessions import DatabaseSessionService
        from google.adk.sessions.base_session_service import GetSessionConfig
        from google.genai import types

        self.kind, self.recent, self.event, self.types = DatabaseSessionService, GetSessionConfig, Event, types

    def open(self) -> None:
        self.service = self.kind(f"sqlite+aiosqlite:///{self.folder}/adk.db")

    async def close(self) -> None:
        self.handles.clear()
        await self.service.close()

    async def fill(self, session: str, said: Sequence[Said]) -> None:
        made = await self.service.create_session(app_name="a", user_id="u", session_id=session)
        for role, text in said:
            await self._append(made, role, text)

    async def _append(self, session: Any, role: str, text: str) -> None:
        content = self.types.Content(role="user" if role == "user" else "model", parts=[self.types.Part(text=text)])
        await self.service.append_event(session, self.event(author=role, invocation_id="i", content=content))

    async def append_pair(self, session: str, question: str, answer: str) -> None:
        if session not in self.handles:
            self.handles[session] = await self._read(session, 50)
        await self._append(self.handles[session], "user", question)
        await self._append(self.handles[session], "assistant", answer)

    async def _read(self, session: str, count: int | None) -> Any:
        recent = self.recent(num_recent_events=count)
        return await self.service.get_session(app_name="a", user_id="u", session_id=session, config=recent)

    async def last(self, session: str, count: int) -> list[Said]:
        return _said_in(await self._read(session, count))

    async def whole(self, session: str) -> list[Said]:
        return _said_in(await self._read(session, None))

    async def durability(self) -> str:
        async with self.service.db_engine.connect() as connection:
            found = {name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar() for name in _PRAGMAS}
        return settings(lambda sql: found[sql.removeprefix("PRAGMA ")])


_PRAGMAS = ("journal_mode", "synchronous")


def _said_in(session: Any) -> list[Said]:
    return [(event.author, event.content.parts[0].text) for event in session.events]


class LangGraph(Contestant):
    title = "SqliteSaver, invoke"
    package = "langgraph-checkpoint-sqlite"
    about = (
        "a pair is one `invoke`, as it is by default, of a graph with one node over `MessagesState`: three checkpoints with all "
        "messages each, and what two steps wrote: five syncs. Older checkpoints stay: each can be gone back to. Reading is "
        "`get_state`, of everything. `DeltaChannel`, which is in beta and writes less, is not measured"
    )
    most = 10_000
    why = "each append writes, and each read loads, the whole session: at a million that is hundreds of megabytes each time"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        from langchain_core.messages import AIMessage, HumanMessage
        from langgraph.checkpoint.sqlite import SqliteSaver
        from langgraph.graph import START, MessagesState, StateGraph

        self.kinds = {"user": HumanMessage, "assistant": AIMessage}
        self.roles = {"human": "user", "ai": "assistant"}
        self.saver = SqliteSaver
        self.answer = ""
        self.plan: Any = StateGraph(MessagesState)
        self.plan.add_node("model", lambda state: {"messages": [AIMessage(self.answer)]})
        self.plan.add_edge(START, "model")

    def open(self) -> None:
        self.db = sqlite3.connect(self.folder / "langgraph.db", check_same_thread=False)
        self.graph = self.plan.compile(checkpointer=self.saver(self.db))

    def opened(self, session: str) -> Any:
        return {"configurable": {"thread_id": session}}

    def close(self) -> None:
        self.db.close()

    def fill(self, session: str, said: Sequence[Said]) -> None:
        """In one checkpoint: one for each turn would take gigabytes."""
        self.update(session, said)

    def update(self, session: str, said: Sequence[Said]) -> None:
        messages = [self.kinds[role](text) for role, text in said]
        self.graph.update_state(self.handle(session), {"messages": messages}, as_node="model")

    def append_pair(self, session: str, question: str, answer: str) -> None:
        self.answer = answer
        self.graph.invoke({"messages": [self.kinds["user"](question)]}, self.handle(session))

    def last(self, session: str, count: int) -> list[Said]:
        return self._read(session)[-count:]

    def whole(self, session: str) -> list[Said]:
        return self._read(session)

    def _read(self, session: str) -> list[Said]:
        messages = self.graph.get_state(self.handle(session)).values["messages"]
        return [(self.roles[message.type], message.content) for message in messages]

    def durability(self) -> str:
        return settings_of(self.db)


class LangGraphUpdates(LangGraph):
    title = "SqliteSaver, update_state"
    about = (
        "a pair is one `update_state`, which reads the newest checkpoint, and writes another with all messages and then what the "
        "step wrote: two syncs"
    )

    def append_pair(self, session: str, question: str, answer: str) -> None:
        self.update(session, [("user", question), ("assistant", answer)])
