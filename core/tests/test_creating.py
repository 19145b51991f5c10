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
from sessile.errors import AccessDenied, SessionExists


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
