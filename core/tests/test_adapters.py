"""What adapters and servers are built with: methods for both faces, verbs by their names, sessions that are elsewhere."""

from __future__ import annotations

import asyncio
import copy
import inspect
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from sessile import AdapterFace, Agent, AsyncSession, Header, MemorySessionStore, Message, Request, Session, both_faces, tool
from sessile.errors import Closed, InvalidArgument, InvalidInput


class Notes:
    """An adapter with each method twice, written once."""

    def __init__(self) -> None:
        self.store = MemorySessionStore()
        self.path = Path(tempfile.mkdtemp()) / "s.jsonl"

    async def _all(self, face: AdapterFace, session_id: str) -> dict[str, Any]:
        agent = Agent(model="echo")
        async with face.Session(session_id, store=self.store, agent=agent) as session:
            await session.add_message("user", "one")
            child = await session.fork()
            await child.add_message("user", "two")
            async with session.exclusive() as lease:
                await session.set_state("size", await face.call(len, "abc"))
                await lease.renew()
            lease = session.exclusive()
            await lease.acquire()
            await lease.release()
            loaded = await face.Session.load(await session.save(self.path), store=MemorySessionStore())
            assert await loaded.message_count == 1
            reply = await session.chat("hello")
            pieces = [piece async for piece in session.stream("again")]
            await face.call(Session(session_id, store=self.store).add_message, "user", "from outside")
            heard = [said.text async for said in session.watch(timeout=0)]
            counts = await child.message_count, await session.message_count
            return {"reply": reply, "pieces": pieces, "heard": heard, "counts": counts, "state": await session.state}

    async def _fails(self, face: AdapterFace) -> None:
        await face.Session("a", store=self.store).add_message("nobody", "text")

    async def _waits(self, face: AdapterFace) -> None:
        await asyncio.sleep(0)

    all, aall = both_faces(_all)
    fails, afails = both_faces(_fails)
    waits, awaits = both_faces(_waits)


def test_a_method_that_is_written_once_has_both_forms() -> None:
    notes = Notes()
    expected = {"reply": "hello", "pieces": ["again"], "heard": ["from outside"], "counts": (2, 6), "state": {"size": 3}}
    assert notes.all("blocking") == asyncio.run(notes.aall("awaited")) == expected
    for call in (notes.fails, lambda: asyncio.run(notes.afails())):
        with pytest.raises(InvalidInput, match="nobody"):
            call()
    with pytest.raises(RuntimeError, match="a blocking call has none"):
        notes.waits()
    with pytest.raises(InvalidInput, match="is no async function"):
        both_faces(len)  # type: ignore[arg-type]
    assert [form.__name__ for form in (Notes.all, Notes.aall)] == ["all", "aall"]
    for form in (notes.all, notes.aall):
        assert [*inspect.signature(form).parameters] == ["session_id"]

    async def of_another() -> Any:
        """A blocking form is a blocking function for everybody, and so is a blocking session's method."""
        async with AdapterAgain().open() as session:
            return await session.chat("go on")

    assert (inspect.iscoroutinefunction(notes.all), inspect.iscoroutinefunction(notes.aall)) == (False, True)
    assert not inspect.iscoroutinefunction(Session.add_message)
    assert asyncio.run(of_another()) == "['one']"


class AdapterAgain:
    """An agent in an async session, with a blocking session's method for a tool."""

    def open(self) -> AsyncSession:
        other = Session("other", store=MemorySessionStore())

        @tool
        def note(text: str) -> str:
            """Note something."""
            other.add_message("user", text)
            return str([said.text for said in other.messages])

        class Model:
            def generate(self, request: Request) -> Any:
                last = request.messages[-1]
                return last.text if last.role == "tool" else {"tool_calls": [{"name": "note", "arguments": {"text": "one"}}]}

        return AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=Model(), tools=[note]))


class Wire:
    """A remote handle: every verb goes through JSON, to a session that is elsewhere."""

    def __init__(self, session: Session, log: list[str]) -> None:
        self.there = session
        self.session_id, self.user_id = session.session_id, session.user_id
        self.log = log

    def perform(self, verb: str, arguments: Mapping[str, Any]) -> Any:
        request = json.loads(json.dumps([verb, dict(arguments)]))
        self.log.append(request[0])
        result = self.there.perform(*request)
        return Wire(result, self.log) if isinstance(result, Session) else result


def test_a_session_elsewhere_is_used_as_one_here() -> None:
    log: list[str] = []
    there = Session("s", user_id="ann", store=MemorySessionStore(), agent=Agent(model="echo"))
    with Session.over(Wire(there, log)) as session:
        said = session.add_message("user", "hello", mood="good")
        assert (type(said), said.metadata) == (Message, {"mood": "good"})
        assert session.chat("you there?") == "you there?"
        session.title, session.state = "Title", {"k": 1}
        child = session.fork(1, title="Fork")
        assert (child.session_id in [header.session_id for header in session.children()], child.title) == (True, "Fork")
        assert [said.text for said in child.messages] == ["hello"]
        assert (session.session_id, session.user_id, session.title, dict(session.state)) == ("s", "ann", "Title", {"k": 1})
        with pytest.raises(TypeError):
            session.state["k"] = 2
        for use in (lambda: session.exclusive().__enter__(), lambda: next(session.watch(0)), lambda: session.memory):
            with pytest.raises(InvalidInput, match="'s' is elsewhere"):
                use()
    with pytest.raises(Closed):
        session.message_count  # noqa: B018
    session.close()  # once more
    assert there.closed
    with pytest.raises(InvalidInput, match="asked for its app"):
        session.app  # noqa: B018
    for use in (lambda: child.save("x"), lambda: child.export("x"), lambda: child.hook("x")):
        with pytest.raises(InvalidInput, match="is elsewhere"):
            use()
    assert copy.copy(session._handle).remote is session._handle.remote
    assert {"add_message", "chat", "set_title", "set_state", "fork", "children", "messages", "close"} <= {*log}


def test_a_close_that_got_lost_is_made_again() -> None:
    there = Session("s", store=MemorySessionStore())

    class Lossy(Wire):
        lost = False

        def perform(self, verb: str, arguments: Mapping[str, Any]) -> Any:
            if not self.lost:
                self.lost = True
                raise OSError("the network")
            return super().perform(verb, arguments)

    session = Session.over(Lossy(there, []))
    with pytest.raises(OSError, match="the network"):
        session.close()
    session.close()
    assert there.closed


def test_a_session_elsewhere_is_awaited() -> None:
    there = Session("s", store=MemorySessionStore())

    async def use() -> int:
        async with AsyncSession.over(Wire(there, [])) as session:
            await session.add_messages([{"role": "user", "content": "one"}])
            child = await session.fork()
            assert isinstance(child, AsyncSession)
            with pytest.raises(InvalidInput, match="cannot be streamed"):
                await anext(child.stream("hello"))
            return await child.message_count

    assert asyncio.run(use()) == 1


def test_verbs_by_their_names() -> None:
    session = Session("s", store=MemorySessionStore())
    assert Session.verbs() == AsyncSession.verbs()
    assert {"add_message", "messages", "set_title", "fork"} <= {*Session.verbs()}
    session.perform("add_message", {"role": "user", "content": "one"})
    assert session.perform("message_count") == 1
    assert isinstance(session.perform("children"), list)
    assert all(isinstance(header, Header) for header in session.perform("children"))
    for verb in ("stream", "__init__", "_handle", "store", "agent", "add_mesage", "save", "export", "hook"):
        with pytest.raises(InvalidArgument, match="a session has none of this name"):
            session.perform(verb)
    with pytest.raises(InvalidArgument, match="fork has no parameter 'metdata': did you mean"):
        session.perform("fork", {"at": 1, "metdata": {}})
    with pytest.raises(InvalidArgument, match="'messages' takes none"):
        session.perform("messages", {"limit": 1})
