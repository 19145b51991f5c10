"""Tasks and threads that share a handle: versions, what is taken back, and a lease that one of them has."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.stores import DURABLE, Meanwhile, url_of

from sessile import AsyncSession, MemorySessionStore, Session
from sessile.errors import Conflict
from sessile.store import open_store


@pytest.fixture
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching_often")
def test_each_commit_has_a_version_of_its_own() -> None:
    store = MemorySessionStore()
    for number in range(300):
        session = Session(f"s{number}", store=store)
        done: list[int] = []
        barrier = threading.Barrier(3)

        def say(session: Session = session, done: list[int] = done, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            done.append(session.commit(messages=[("user", "x")]).version)

        threads = [threading.Thread(target=say) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({*done}) == 3
        assert max(done) == session.version


def test_what_tasks_take_back_at_once_is_taken_back_once() -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            added: list[str] = []
            popped: Counter[str] = Counter()

            async def say(name: str) -> None:
                for number in range(40):
                    await session.add_message("user", f"{name}{number}")
                    added.append(f"{name}{number}")

            async def take() -> None:
                for _ in range(20):
                    popped.update(message.text for message in await session.pop())

            async def read() -> None:
                for _ in range(40):
                    await session.get_history(3)
                    await session.increment_state("n")

            await asyncio.gather(*[read() for _ in range(3)], *map(say, "abc"), *[take() for _ in range(5)])
            left = [message.text for message in await session.messages]
            assert sorted([*popped.elements(), *left]) == sorted(added)

    asyncio.run(main())


def test_a_lease_that_another_thread_has_taken_meanwhile_is_no_lost_one() -> None:
    store = Meanwhile()
    session, other = Session("s", store=store), Session("s", store=store)
    session.add_message("user", "one")
    lease = session.exclusive(lease=30)

    def meanwhile() -> None:
        other.add_message("user", "two")
        found = store.load("s")
        lease.acquire()  # by another thread of the same handle; what was found knows nothing of it
        raise Conflict("somebody else was first", found)

    store.once = meanwhile
    session.add_message("user", "three")
    assert [message.text for message in session.messages] == ["one", "two", "three"]
    lease.release()
    other.add_message("user", "four")


def test_a_refused_version_is_no_look() -> None:
    store = MemorySessionStore()
    session = Session("s", store=store, on_conflict="raise")
    session.add_message("user", "one")
    seen = session.version
    Session("s", store=store).add_message("user", "two")
    for change in (
        session.pop,
        lambda: session.commit(title="t", expected=seen),
        lambda: session.pop(expected=seen),
        lambda: session.replace_tail(None, [], expected=seen),
        session.pop,
    ):
        with pytest.raises(Conflict):
            change()
    assert [message.text for message in session.messages] == ["one", "two"]
    assert [message.text for message in session.pop(expected=session.version)] == ["two"]


def test_what_is_taken_back_is_of_the_version_that_was_seen() -> None:
    store = MemorySessionStore()
    session, other = Session("s", store=store), Session("s", store=store)
    session.add_messages([("user", "one"), ("user", "two")])
    seen = session.version
    other.add_message("user", "three")
    for change in (lambda: session.pop(expected=seen), lambda: session.replace_tail(None, [("user", "x")], expected=seen)):
        for _ in range(2):
            with pytest.raises(Conflict, match=f"not at {seen}"):
                change()
    assert session.message_count == 3
    assert [message.text for message in session.pop(2, expected=session.version)] == ["two", "three"]
    session.replace_tail(None, [("user", "x")], expected=session.version)
    assert [message.text for message in other.messages] == ["x"]


class LateAnswers(MemorySessionStore):
    """A commit of the thread "first" has landed, and returns when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.landed, self.may_return = threading.Event(), threading.Event()

    def commit(self, session_id: str, **how: Any) -> None:
        super().commit(session_id, **how)
        if threading.current_thread().name == "first":
            self.landed.set()
            self.may_return.wait(10)


def test_what_two_threads_said_is_in_the_order_of_the_log_whoever_returns_first() -> None:
    store = LateAnswers()
    session = Session("s", store=store)
    session.add_message("user", "zero")
    thread = threading.Thread(target=lambda: session.add_message("user", "first"), name="first")
    thread.start()
    assert store.landed.wait(10)
    session.add_message("user", "second")
    store.may_return.set()
    thread.join()
    assert [message.text for message in session.messages] == ["zero", "first", "second"]
    assert [message.text for message in session.get_history(1)] == ["second"]
    assert [message.text for message in session.pop()] == ["second"]
    assert [message.text for message in Session("s", store=store).messages] == ["zero", "first"]


@pytest.mark.parametrize("kind", DURABLE)
@pytest.mark.parametrize("before_and_after", [(1, 1), (2, 1), (1, 2)])
def test_a_handle_does_not_write_behind_a_history_that_was_put_back(
    kind: str, before_and_after: tuple[int, int], tmp_path: Path
) -> None:
    """An older copy of the store is put back while a handle is open, and others go on with as many commits as were lost."""
    lost, new = before_and_after
    url = url_of(kind, tmp_path / "store")
    (tmp_path / "store").mkdir()
    with Session("s", store=open_store(url)) as first:
        first.add_message("user", "one")
        first.store.close()
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    session = Session("s", store=open_store(url))
    for number in range(2):
        session.add_messages([("user", f"lost {number} {other}") for other in range(lost)])
    shutil.rmtree(tmp_path / "store")
    shutil.move(tmp_path / "copy", tmp_path / "store")
    other = Session("s", store=open_store(url))
    for number in range(2):
        other.add_messages([("user", f"new {number} {of}") for of in range(new)])
    if kind == "sqlite":
        time.sleep(0.6)  # a connection looks for another file only now and then
    session.add_message("user", "mine")
    found = [message.text for message in Session("s", store=open_store(url)).messages]
    assert found == ["one", *[f"new {number} {of}" for number in range(2) for of in range(new)], "mine"]
    assert [message.text for message in session.messages] == found
    assert other.verify()


def test_tasks_that_share_a_handle_take_back_and_say_at_once() -> None:
    """One of them may have seen an older header than another prepares a change behind."""
    chance = random.Random(1)

    async def work() -> None:
        store = MemorySessionStore()
        ours, others = AsyncSession("s", store=store), AsyncSession("s", store=store)

        async def one() -> None:
            session = chance.choice([ours, ours, others])
            if chance.random() < 0.6:
                await session.add_messages([("user", "x")] * chance.randint(1, 3))
            else:
                with contextlib.suppress(Conflict):
                    await session.pop(2)

        for _ in range(100):
            await asyncio.gather(*[one() for _ in range(6)])
        assert await ours.verify()
        assert await ours.messages == await AsyncSession("s", store=store).messages

    asyncio.run(work())
