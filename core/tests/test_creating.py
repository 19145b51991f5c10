"""Sessions that a manager creates: new ones, and those that may be there (`exist_ok`), in both faces."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.faces import FACES, manager_opener
from tests.stores import ALL, url_of

from sessile import AsyncSession, AsyncSessionManager, SessionManager
from sessile.errors import AccessDenied, Closed, InvalidInput, NotInstalled, SessionExists

pytestmark = pytest.mark.usefixtures("without_memory")


@pytest.fixture(params=[(name, face) for name in ALL for face in FACES], ids="-".join)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    name, face = request.param
    with closing(asyncio.new_event_loop()) as loop, manager_opener(face, loop)(url_of(name, tmp_path / "store")) as manager:
        yield manager


def test_one_that_may_be_there_is_opened_as_it_is(manager: Any) -> None:
    made = manager.create_session("ann", session_id="s", title="first", metadata={"k": 1}, exist_ok=True)
    made.add_message("user", "hello")
    again = manager.create_session("ann", session_id="s", title="second", metadata={"k": 2}, exist_ok=True)
    assert (again.title, again.metadata, again.message_count) == ("first", {"k": 1}, 1)
    with pytest.raises(SessionExists, match="'s'"):
        manager.create_session("ann", session_id="s")
    with pytest.raises(AccessDenied, match="bob"):
        manager.create_session("bob", session_id="s", exist_ok=True)
    with pytest.raises(AccessDenied, match="bob"):
        manager.user("bob").create_session(session_id="s", exist_ok=True)
    assert [header.session_id for header in manager.each()] == ["s"]
    assert (again.title, again.user_id) == ("first", "ann")


def test_sessions_that_are_found_can_be_spoken_in(manager: Any) -> None:
    for number in range(3):
        manager.create_session("ann", session_id=f"s{number}", title=str(number)).add_message("user", f"hello {number}")
    found = {session.session_id: session.messages[0].text for session in manager.get_sessions_for_user("ann", limit=2)}
    assert found == {"s2": "hello 2", "s1": "hello 1"}
    session = manager.get_session("s0", strict=True)
    session.add_message("user", "more")
    assert manager.get_session("s0").message_count == 2
    assert manager.get_session("s9") is None
    assert not manager.exists("s9")


def test_of_many_that_create_it_at_once_one_does(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path / "store")

    async def both_ways() -> list[Any]:
        async with AsyncSessionManager(url) as manager:
            made = await asyncio.gather(*(manager.create_session(session_id="a", exist_ok=True) for _ in range(8)))
            assert all(isinstance(session, AsyncSession) for session in made)
            return await asyncio.gather(*(manager.create_session(session_id="b") for _ in range(8)), return_exceptions=True)

    assert sorted(type(made).__name__ for made in asyncio.run(both_ways())) == ["AsyncSession", *["SessionExists"] * 7]
    with SessionManager(url) as manager, ThreadPoolExecutor(8) as threads:
        made = [*threads.map(lambda _: manager.create_session(session_id="c", exist_ok=True), range(8))]
        assert {session.session_id for session in made} == {"c"}
        assert {header.session_id for header in manager.each()} == {"a", "b", "c"}


def test_what_a_manager_opens_is_as_it_says(manager: Any) -> None:
    with pytest.raises(NotInstalled):
        manager.create_session(session_id="s", memory={"k": 1})
    assert not manager.exists("s")
    ann = manager.user("ann").create_session(session_id="a")
    with pytest.raises(AccessDenied, match="bound to user 'ann': it makes none for 'bob'"):
        ann.fork(session_id="f", user_id="bob")
    with pytest.raises(AccessDenied, match="bound to user 'ann'"):
        ann.fork(session_id="f").fork(user_id="bob")
    assert manager.get_session("a").fork(session_id="b", user_id="bob").user_id == "bob"  # everybody's manager


def test_a_subclass_is_bound_with_all_that_it_has() -> None:
    class Mine(SessionManager):
        def __init__(self, tenant: str) -> None:
            super().__init__("memory://", timeout=3)
            self.tenant = tenant

    with Mine("t") as manager:
        bound = manager.user("ann")
        assert (type(bound), bound.tenant, bound.user_id, manager.user_id) == (Mine, "t", "ann", None)
        assert bound.create_session()._handle.timeout == 3


def test_a_blocking_list_is_no_matter_of_an_event_loop_that_runs() -> None:
    with SessionManager("memory://") as manager:
        for number in range(3):
            manager.create_session(session_id=f"s{number}").add_message("user", "word")

        async def main() -> list[str]:
            headers = manager.each(limit=1)
            first = next(headers).session_id
            assert len(manager.search("word")) == 3
            await asyncio.get_running_loop().shutdown_asyncgens()
            return [first, *(header.session_id for header in headers)]

        assert sorted(asyncio.run(main())) == ["s0", "s1", "s2"]
        for _ in manager.each(limit=1):
            break


class Counts:
    """How many of its sessions are open: each is closed once."""

    def __init__(self) -> None:
        self.closed: list[str] = []

    def on_session_close(self, session_id: str) -> None:
        self.closed.append(session_id)


@pytest.mark.parametrize("face", FACES)
def test_what_could_not_be_opened_is_closed(face: str, tmp_path: Path) -> None:
    counts = Counts()
    with closing(asyncio.new_event_loop()) as loop, manager_opener(face, loop)(url_of("file", tmp_path / "store")) as manager:
        manager.create_session("ann", session_id="s", plugins=[counts])
        with pytest.raises(SessionExists):
            manager.create_session("ann", session_id="s", plugins=[counts])
        assert manager.get_session("nobody", plugins=[counts]) is None
        assert counts.closed == ["s", "nobody"]
        if face == "awaited":  # a blocking one is refused before it is made
            with pytest.raises(AccessDenied):
                manager.get_session("s", "bob", plugins=[counts])
            assert counts.closed == ["s", "nobody", "s"]


@pytest.mark.parametrize("face", FACES)
def test_closing_a_manager_closes_the_store_that_it_opened(face: str, tmp_path: Path) -> None:
    with closing(asyncio.new_event_loop()) as loop:
        manager = manager_opener(face, loop)(url_of("sqlite", tmp_path / "store.db"))
        manager.create_session(session_id="s")
        with manager.user("default_user") as bound:
            assert bound.exists("s")
        assert manager.exists("s")  # closing a bound one leaves it open
        manager.__exit__()
        with pytest.raises(Closed):
            manager.exists("s")


def test_options_that_no_manager_takes_are_refused(manager: Any) -> None:
    manager.create_session(session_id="s", metadata={"k": 1})
    for options, why in (
        ({"metadata": {"k": 2}}, "has no option 'metadata'"),
        ({"agnet": None}, "did you mean 'agent'"),
        ({"store": "memory://"}, "where a session is kept is the manager's"),
        ({"backend": "sqlite"}, "where a session is kept is the manager's"),
    ):
        with pytest.raises(InvalidInput, match=why):
            manager.get_session("s", **options)
    assert manager.get_session("s").metadata == {"k": 1}


def test_a_session_that_may_be_there_may_be_deleted_meanwhile(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path / "store.db")
    with SessionManager(url) as manager, ThreadPoolExecutor(4) as threads:

        def both(number: int) -> str:
            if number % 2:
                manager.delete("s")
                return "s"
            return manager.create_session(session_id="s", exist_ok=True).session_id

        assert {*threads.map(both, range(200))} == {"s"}
