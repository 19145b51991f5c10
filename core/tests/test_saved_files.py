"""Files of sessions: written beside the event loop, with news of how far they are, and refused where there can be none."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.faces import FACES, opener

from sessile import AsyncSession, MemorySessionStore, Session, SessionManager
from sessile.errors import InvalidInput


@pytest.mark.parametrize("verb", ["save", "export"])
def test_a_pipe_without_a_reader_does_not_hold_up_the_event_loop(verb: str, tmp_path: Path) -> None:
    pipe, copy = tmp_path / "pipe", tmp_path / "copy"
    os.mkfifo(pipe)

    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            await session.add_messages([("user", "x" * 10_000)] * 100)  # more than a pipe holds
            writing = asyncio.create_task(getattr(session, verb)(pipe))
            for _ in range(10):
                assert await session.message_count == 100  # the loop goes on
            assert not writing.done()
            await asyncio.gather(writing, asyncio.to_thread(lambda: copy.write_bytes(pipe.read_bytes())))

    asyncio.run(main())
    assert len(Session.load(copy, store=MemorySessionStore()).messages) == 100


@pytest.mark.parametrize("how", ["kept", "resolved"])
@pytest.mark.parametrize("face", FACES)
def test_progress_is_told_to_the_end(how: str, face: str, tmp_path: Path) -> None:
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=MemorySessionStore())
    session.add_messages([("user", str(number)) for number in range(600)])
    told: list[tuple[int, int]] = []
    session.export(tmp_path / "file", lineage=how, progress=lambda *done: told.append(done))
    assert told[-1] == (600, 600)
    told.clear()
    SessionManager(MemorySessionStore()).import_session(tmp_path / "file", progress=lambda *done: told.append(done))
    assert told[-1] == (600, 600)
    loop.close()


ODD: dict[str, Callable[[Path], Any]] = {
    "a folder": lambda folder: folder,
    "the root": lambda folder: "/",
    "a name that is too long": lambda folder: folder / ("x" * 300),
    "a path that is too long": lambda folder: "/".join(["x" * 200] * 30),
    "nothing": lambda folder: "",
    "a NUL": lambda folder: "a\0b",
    "no path": lambda folder: 5,
}
VERBS: dict[str, Callable[[Any, Any], Any]] = {
    "save": lambda session, path: session.save(path),
    "export": lambda session, path: session.export(path),
    "load": lambda session, path: session.load(path),
    "Session.load": lambda session, path: Session.load(path, store=session.store),
    "import_session": lambda session, path: SessionManager(session.store).import_session(path),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("odd", ODD)
def test_what_can_be_no_file_is_refused(verb: str, odd: str, tmp_path: Path) -> None:
    session = Session("s", store=MemorySessionStore())
    session.add_message("user", "x")
    with pytest.raises(InvalidInput):
        VERBS[verb](session, ODD[odd](tmp_path))
    assert [*tmp_path.iterdir()] == []
    assert session.message_count == 1


def test_what_a_loaded_file_replaced_is_led_back_to(tmp_path: Path) -> None:
    session = Session("s", store=MemorySessionStore())
    session.add_message("user", "old")
    path = session.save(tmp_path / "s.json")
    session.set_state("k", 1)
    session.undo()
    session.add_message("user", "new")
    session.set_state("k", 2)
    again = Session.load(path, store=session.store)
    assert ([m.text for m in again.messages], again.state) == (["old"], {})
    again.revert("before load")
    assert ([m.text for m in again.messages], again.state) == (["new"], {"k": 2})
