"""Services: what a plugin gives a session to hold."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Session, hookimpl
from sessile.errors import AccessDenied, Closed, InvalidInput, NotInstalled, PluginError
from sessile.plugins import Registry, steer

pytestmark = pytest.mark.usefixtures("without_memory")

closed: list[str] = []
made: list[Any] = []


class Memory:
    """A service that counts what is said."""

    def __init__(self, session: Any, option: Any) -> None:
        time.sleep(0.01)  # it connects
        if option == "bad":
            raise ValueError("no such memory")
        self.session, self.option, self.user = session, option, session.user_id
        made.append(self)

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
    made.clear()


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


@pytest.mark.parametrize(
    ("options", "made_before"),
    [({"memory": "bad"}, 0), ({"knowledge": True, "memory": "bad"}, 0), ({"memory": True, "knowledge": "bad"}, 1)],
)
def test_a_bad_option_is_an_error_where_the_session_is_opened(options: dict[str, Any], made_before: int) -> None:
    async def open_async() -> None:
        async with AsyncSession("s", store=MemorySessionStore(), plugins=[Plugin()], **options):
            raise AssertionError("it was opened")

    with pytest.raises(ValueError, match="no such memory"):
        Session("s", store=MemorySessionStore(), plugins=[Plugin()], **options)
    with pytest.raises(ValueError, match="no such memory"):
        asyncio.run(open_async())
    assert closed == ["memory"] * 2 * made_before  # what was made goes again


def test_a_service_is_made_for_the_sessions_own_user() -> None:
    store = MemorySessionStore()
    Session("s", user_id="ann", store=store).create()

    async def main() -> None:
        session = AsyncSession("s", store=store, plugins=[Plugin()], memory=True)
        with pytest.raises(InvalidInput, match="not open yet, so its memory cannot be made"):
            session.memory  # noqa: B018
        assert await session.exists()
        assert session.memory.user == "ann"
        bobs = AsyncSession("s", user_id="bob", store=store, plugins=[Plugin()], memory=True)
        with pytest.raises(AccessDenied):
            await bobs.exists()
        with pytest.raises(InvalidInput):
            bobs.memory  # noqa: B018
        async with AsyncSession("s", store=store, plugins=[Plugin()], memory=True) as again:
            assert again.memory.user == "ann"

    asyncio.run(main())


class Telling(Memory):
    """One that tells another as it is closed."""

    def close(self) -> None:
        closed.append("telling")
        self.session.knowledge.session.memory.close()


class Own(Memory):
    def __init__(self, session: Any, option: Any) -> None:
        super().__init__(session, option)
        session.service("memory")


async def awaited(session: Any, option: Any) -> Memory:
    return Memory(session, option)


def registering(target: str) -> Any:
    class Registers:
        @hookimpl
        def register(self, registry: Any) -> None:
            Plugin().register(registry)
            registry.add("service", "memory", f"{__name__}:{target}")

    return Registers()


def test_a_service_that_is_closed_is_not_made_again(caplog: pytest.LogCaptureFixture) -> None:
    session = Session("s", store=MemorySessionStore(), plugins=[registering("Telling")], memory=True, knowledge=True)
    session.close()
    assert closed == ["knowledge", "telling"]
    assert "its knowledge is not there any more" in caplog.text


def test_a_service_that_comes_too_late_is_closed() -> None:
    store = MemorySessionStore()
    for number in range(20):
        session = Session("s", store=store, plugins=[Plugin()])

        def ask(session: Session = session) -> None:
            with suppress(Closed):
                session.memory  # noqa: B018

        thread = threading.Thread(target=ask)
        thread.start()
        if number % 2:
            time.sleep(0.005)  # while it is being made
        session.close()
        thread.join()
    assert made
    assert len(closed) == len(made)


@pytest.mark.parametrize(("target", "why"), [("Own", "making it asks for memory itself"), ("awaited", "its factory is async")])
def test_a_factory_that_cannot_work_is_named(target: str, why: str) -> None:
    with Session("s", store=MemorySessionStore(), plugins=[registering(target)]) as session:
        for _ in range(2):
            with pytest.raises(PluginError, match=f"{registering(target).__class__.__name__}.*{why}"):
                session.memory  # noqa: B018


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
        with pytest.raises(InvalidInput, match="pass it to the Session"):
            Session("s", store=MemorySessionStore(), agents={"a": Agent("A", model="echo", knowledge=["a.txt"])})
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


class Writing(Memory):
    """One that writes to its session as it is made, so that hooks are called."""

    def __init__(self, session: Any, option: Any) -> None:
        super().__init__(session, option)
        session.add_message("user", "what was kept before")


def test_a_hook_that_asks_for_what_is_being_made_is_told_so() -> None:
    class Asks:
        async def on_user_message(self, session: AsyncSession) -> None:
            session.service("memory")  # while another thread makes it, and waits for this

    options = {"store": MemorySessionStore(), "plugins": [registering("Writing"), Asks()]}
    with Session("s", strict=True, **options) as session:  # type: ignore[arg-type]
        with pytest.raises(PluginError, match="making it asks for memory itself"):
            session.service("memory")
        assert [said.text for said in session.messages] == ["what was kept before"]


@pytest.mark.parametrize("option", [{}, [], 0, ""])
def test_an_option_is_given_whatever_its_truth_is(option: Any) -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore(), plugins=[Plugin()], memory=option):
            assert [one.option for one in made] == [option]

    asyncio.run(main())
    Session("s", store=MemorySessionStore(), plugins=[Plugin()], memory=option).close()
    assert [one.option for one in made] == [option] * 2


def test_the_hooks_of_a_service_take_part_where_a_session_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    module = ModuleType("hooks_of_a_service")

    @hookimpl
    def on_user_message(session: Session) -> None:
        heard.append(session.memory.option)

    module.on_user_message = on_user_message  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)

    class WithHooks:
        @hookimpl
        def register(self, registry: Any) -> None:
            registry.add("service", "memory", f"{__name__}:Memory", hooks=module.__name__)

    store, plugins = MemorySessionStore(), [WithHooks()]
    for option in (None, False, "here"):
        with Session(f"s-{option}", store=store, plugins=plugins, memory=option) as session:
            session.add_message("user", "x")
            session.fork(session_id=f"f-{option}").add_message("user", "y")
    assert heard == ["here", "here"]


def test_only_a_service_has_hooks_of_its_own() -> None:
    with pytest.raises(InvalidInput, match="only a service"):
        Registry().add("model", "mine", "my:Model", hooks="my.hooks")
