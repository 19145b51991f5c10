"""Hooks and middleware get a session of the face they can use, whatever face the user holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Message, Request, Session, hookimpl
from sessile.errors import Closed, InvalidInput, SessileError

FACES = ["blocking", "async"]


class Asked:
    """A model that says what it was asked."""

    def generate(self, request: Request) -> str:
        return " | ".join(m.text for m in request.messages)


class AsyncStore:
    """A store of async methods that belongs to one event loop, as a client's pool of connections does."""

    def __init__(self) -> None:
        self._store = MemorySessionStore()
        self._loop: Any = None

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def on_its_loop(*args: Any, **kwargs: Any) -> Any:
            self._loop = self._loop or asyncio.get_running_loop()
            assert asyncio.get_running_loop() is self._loop
            return method(*args, **kwargs)

        return on_its_loop


@pytest.fixture(params=["memory", "sqlite", "async"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Blocking stores, and an async one."""
    return {"memory": MemorySessionStore, "sqlite": lambda: f"sqlite:///{tmp_path}/s.db", "async": AsyncStore}[request.param]()


def use(face: str, work: Callable[[Any], Any], **options: Any) -> list[str]:
    """Call `work(session)` with a session of a face, which returns what is to be awaited if that is async."""
    options = {"agent": Agent("A", "Answer.", model=Asked()), **options}
    if face == "blocking":
        with Session("s", **options) as session:
            work(session)
            return [m.text for m in session.messages]

    async def main() -> list[str]:
        async with AsyncSession("s", **options) as session:
            await work(session)
            return [m.text for m in await session.messages]

    return asyncio.run(main())


class Profile:
    @hookimpl
    def build_context(self, session: Session, messages: list[Message]) -> list[Message]:
        language = session.get_state("user:language", "English")
        return [Message(role="system", content=f"In {language}."), *messages]


class AsyncProfile:
    @hookimpl
    async def build_context(self, session: AsyncSession, messages: list[Message]) -> list[Message]:
        language = await session.get_state("user:language", "English")
        return [Message(role="system", content=f"In {language}."), *messages]


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("plugin", [Profile(), AsyncProfile()], ids=["blocking hook", "async hook"])
def test_a_hook_reads_and_writes_with_a_session_of_its_own_face(face: str, plugin: object, store: Any) -> None:
    class Counting:
        def on_user_message(self, session: Session) -> None:
            session.increment_state("blocking")
            session.set_state("user:language", "Portuguese")

        async def on_agent_message(self, session: AsyncSession) -> None:
            await session.increment_state("awaited")

    said = use(face, lambda session: session.chat("hello"), plugins=[Counting(), plugin], strict=True, store=store)
    assert said == ["hello", "In Portuguese. | Answer. | hello"]
    if not isinstance(store, AsyncStore):
        assert Session("s", store=store).get_state() == {"blocking": 1, "awaited": 1, "user:language": "Portuguese"}


@pytest.mark.parametrize("face", FACES)
def test_the_session_of_a_turn_is_of_the_face_of_its_layer(face: str, store: Any) -> None:
    def blocking(turn: Any, call_next: Any) -> Any:
        turn.metadata["count"] = turn.session.message_count
        turn.content += f" {turn.session.get_state('k', 0)}"
        return call_next(turn)

    async def awaiting(turn: Any, call_next: Any) -> Any:
        await turn.session.set_state("k", 1)
        reply = await call_next(turn)
        assert turn.metadata == {"count": 0}
        assert await turn.session.message_count == 1
        return reply

    said = use(face, lambda session: session.chat("x"), middleware=[awaiting, blocking, awaiting], store=store)
    assert said == ["x 1", "Answer. | x 1"]


@pytest.mark.parametrize("face", FACES)
def test_both_views_are_one_session(face: str) -> None:
    seen: dict[str, Any] = {}

    class Both:
        def on_user_message(self, session: Any) -> None:
            seen.setdefault("blocking", []).append(session)
            session.set_state("temp:k", "shared")
            session.agent.context = "here"

        async def on_agent_message(self, session: Any) -> None:
            seen.setdefault("async", []).append(session)
            assert await session.get_state("temp:k") == "shared"
            assert session.agent.context == "here"

    def work(session: Any) -> Any:
        seen["user"] = session
        if face == "blocking":
            with session.exclusive():
                return [session.chat("x"), session.chat("y")]

        async def both() -> None:
            async with session.exclusive():  # the lease is the views', too
                await session.chat("x")
                await session.chat("y")

        return both()

    use(face, work, plugins=[Both()], strict=True, store=MemorySessionStore(), on_conflict="raise")
    assert isinstance(seen["blocking"][0], Session)
    assert isinstance(seen["async"][0], AsyncSession)
    assert seen[face] == [seen["user"]] * 2
    assert all(view is views[0] for views in (seen["blocking"], seen["async"]) for view in views)
    assert seen["blocking"][0].closed
    assert seen["async"][0].closed
    with pytest.raises(Closed):
        seen["blocking"][0].get_state("k")
    assert isinstance(seen["blocking"][0]._seen_by(True), AsyncSession)


@pytest.mark.parametrize("face", FACES)
def test_a_view_forks_chats_and_streams_in_its_own_face(face: str) -> None:
    done: list[Any] = []

    class Asks:
        def on_session_close(self, session: Any) -> None:
            if session.session_id == "s":
                fork = session.fork(session_id="b")
                done.append((fork.chat("in a fork"), list(fork.stream("streamed"))))

    class AsyncAsks:
        async def on_session_close(self, session: Any) -> None:
            if session.session_id == "s":
                fork = await session.fork(session_id="a")
                done.append((await fork.chat("in a fork"), [piece async for piece in fork.stream("streamed")]))

    agent = Agent(model="echo")
    use(
        face,
        lambda session: session.chat("x"),
        plugins=[Asks(), AsyncAsks()],
        strict=True,
        store=MemorySessionStore(),
        agent=agent,
    )
    assert done == [("in a fork", ["streamed"])] * 2


def test_a_blocking_view_in_its_own_event_loop_says_that_it_would_wait_for_itself() -> None:
    taken: list[Any] = []

    class Takes:
        def on_user_message(self, session: Any) -> None:
            taken.append(session)

    async def work(session: Any) -> None:
        await session.chat("x")
        with pytest.raises(SessileError, match="use an AsyncSession there"):
            taken[0].get_state("k")

    use("async", work, plugins=[Takes()], store=AsyncStore())


def test_an_async_session_is_closed_by_code_without_a_loop(tmp_path: Path) -> None:
    closed: list[str] = []

    class Closing:
        def __init__(self, name: str) -> None:
            self.name = name

        def on_session_close(self, session_id: str) -> None:
            closed.append(f"{self.name} {session_id}")

    class AwaitedClosing(Closing):
        async def on_session_close(self, session_id: str) -> None:
            await asyncio.sleep(0)
            closed.append(f"{self.name} {session_id}")

    async def main() -> AsyncSession:
        session = AsyncSession("s", store=f"sqlite:///{tmp_path}/x.db", plugins=[Closing("plain"), AwaitedClosing("awaited")])
        await session.add_message("user", "a")
        with pytest.raises(InvalidInput, match="an event loop runs here"):
            _ = session.blocking
        return session

    session = asyncio.run(main())
    assert session.blocking.message_count == 1
    session.blocking.close()
    session.blocking.close()
    assert session.closed
    assert sorted(closed) == ["awaited s", "plain s"]
    with pytest.raises(Closed):
        session.store.load("s")
    with pytest.raises(Closed):
        asyncio.run(session.add_message("user", "b"))


def test_a_stream_whose_loop_is_gone_holds_up_no_close() -> None:
    class Words:
        async def generate(self, request: Request) -> str:
            request.emit("one ")
            await asyncio.sleep(3600)
            return "never"

    loop = asyncio.new_event_loop()
    session = AsyncSession("s", store=MemorySessionStore(), agent=Agent(model=Words()))
    stream = session.stream("go")
    assert loop.run_until_complete(anext(stream)) == "one "
    session.blocking.close()
    assert session.closed
    loop.run_until_complete(stream.aclose())
    loop.close()
