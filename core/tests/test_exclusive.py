"""Exclusive use: tasks and threads that share one handle are kept apart, as handles are (see the conformance kit)."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.faces import FACES, opener
from tests.stores import url_of

from sessile import AsyncSession, MemorySessionStore, Session
from sessile.errors import InvalidInput, LeaseLost, LockTimeout, StoreError

ROUNDS = 5


def test_threads_that_share_a_handle_have_it_one_after_the_other() -> None:
    session = Session("s", store=MemorySessionStore())
    seen: list[int] = []
    together = threading.Barrier(3)

    def work() -> None:
        together.wait()
        for _ in range(ROUNDS):
            with session.exclusive(timeout=30):
                before = session.message_count
                session.add_message("user", "a")
                session.add_message("user", "b")
                seen.append(session.message_count - before)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [2] * 3 * ROUNDS


def test_tasks_that_share_a_handle_have_it_one_after_the_other() -> None:
    async def main() -> list[int]:
        seen: list[int] = []
        async with AsyncSession("s", store=MemorySessionStore()) as session:

            async def work() -> None:
                for _ in range(ROUNDS):
                    async with session.exclusive(timeout=30):
                        before = await session.message_count
                        await session.add_message("user", "a")
                        await asyncio.sleep(0)
                        await session.add_message("user", "b")
                        seen.append(await session.message_count - before)

            async with session.exclusive(timeout=30):  # tasks begun here wait like any other
                begun = [asyncio.create_task(work()) for _ in range(3)]
                await asyncio.sleep(0)
            await asyncio.gather(*begun)
        return seen

    assert asyncio.run(main()) == [2] * 3 * ROUNDS


def test_a_second_lease_in_the_same_place_says_so() -> None:
    session = Session("s", store=MemorySessionStore())
    with session.exclusive(timeout=30) as lease:
        with pytest.raises(InvalidInput, match="session 's' is used exclusively here already"), session.exclusive(timeout=30):
            pass
        assert lease.token is not None
        session.add_message("user", "still mine")
        with Session("other", store=session.store).exclusive(timeout=1):
            pass
    with session.exclusive(timeout=1):
        session.add_message("user", "again")

    async def main() -> None:
        async with AsyncSession("s", store=session.store) as awaited, awaited.exclusive(timeout=30):
            with pytest.raises(InvalidInput, match="used exclusively here already"):
                await awaited.exclusive(timeout=30).acquire()
            with pytest.raises(InvalidInput, match="used exclusively here already"):  # in a thread that it waits for
                await asyncio.to_thread(awaited._seen_by(False).exclusive(timeout=30).__enter__)
            await awaited.add_message("user", "mine")

    asyncio.run(main())
    assert session.message_count == 3


@pytest.mark.parametrize("face", FACES)
def test_who_waits_too_long_for_a_shared_handle_hears_of_it(face: str) -> None:
    store = MemorySessionStore()
    loop = asyncio.new_event_loop()
    session = opener(face, loop)("s", store=store)
    holder: Any = session if face == "blocking" else session.blocking
    with holder.exclusive(timeout=30):
        outcome: list[type[BaseException]] = []

        def other() -> None:
            try:
                if face == "blocking":
                    session.exclusive(timeout=0.05).__enter__()
                else:
                    loop.run_until_complete(session.exclusive(timeout=0.05).__aenter__())
            except Exception as error:
                outcome.append(type(error))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        assert outcome == [LockTimeout]
        holder.add_message("user", "still mine")
    with holder.exclusive(timeout=1):
        pass
    loop.close()


def test_a_cancelled_wait_or_an_error_leaves_the_handle_free() -> None:
    async def main() -> None:
        store = MemorySessionStore()
        async with AsyncSession("s", store=store) as session:
            async with session.exclusive(timeout=30):
                waiting = asyncio.create_task(session.exclusive(timeout=30).acquire())
                await asyncio.sleep(0)
                waiting.cancel()
            await asyncio.wait([waiting])
            assert waiting.cancelled()
            lease = session.exclusive(timeout=1)
            with pytest.raises(ZeroDivisionError):
                async with lease:
                    _ = 1 / 0
            await lease.release()  # once more: nothing to give back
            with pytest.raises(LeaseLost, match="acquire it first"):
                await lease.renew()
            async with session.exclusive(timeout=1):
                await session.add_message("user", "a")

    asyncio.run(main())


def test_a_cancellation_while_the_lease_is_committed_gives_it_back() -> None:
    class Slow(MemorySessionStore):
        """A store whose next commit takes until it is let go."""

        def commit(self, *args: Any, **kwargs: Any) -> None:
            begun.set()
            assert go_on.wait(10)
            super().commit(*args, **kwargs)

    begun, go_on = threading.Event(), threading.Event()
    store = Slow()

    async def main() -> None:
        async with AsyncSession("s", store=store) as session:
            asking = asyncio.create_task(session.exclusive(timeout=1000).acquire())
            await asyncio.to_thread(begun.wait)
            asking.cancel()
            await asyncio.sleep(0)
            go_on.set()
            await asyncio.wait([asking])
            assert asking.cancelled()
        with Session("s", store=store, timeout=1) as other:
            other.add_message("user", "at once")

    asyncio.run(main())


def test_the_wrong_kind_of_with_says_which_is_right_and_holds_nothing() -> None:
    store = MemorySessionStore()
    blocking = Session("s", store=store)

    async def both() -> None:
        async with AsyncSession("s", store=store) as session:
            with pytest.raises(InvalidInput, match="async with"), session.exclusive():
                pass
            async with session.exclusive(timeout=1):
                pass
        with pytest.raises(InvalidInput, match="not with `async with`"):
            async with blocking.exclusive():
                pass

    asyncio.run(both())
    with blocking.exclusive(timeout=1):
        pass


class Unwilling(MemorySessionStore):
    """Refuses the next commit once it is told to."""

    refuses = False

    def commit(self, session_id: str, **arguments: Any) -> None:
        if self.refuses:
            self.refuses = False
            raise StoreError("no space left")
        super().commit(session_id, **arguments)


def test_a_lease_that_could_not_be_renewed_is_given_back_all_the_same() -> None:
    store = Unwilling()
    with Session("s", store=store).exclusive(timeout=1, lease=60) as lease:
        store.refuses = True
        with pytest.raises(StoreError):
            lease.renew()
    Session("s", store=store).add_message("user", "said by another")


def test_a_clock_that_is_set_back_makes_nobody_wait_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemorySessionStore()
    with Session("s", store=store).exclusive(lease=3600):
        begin, clock = time.monotonic(), time.time
        monkeypatch.setattr(time, "time", lambda: clock() - 600 if time.monotonic() > begin + 0.05 else clock())
        other = Session("s", store=store, timeout=0.2)
        for wait in (lambda: other.exclusive(timeout=0.2).__enter__(), lambda: other.add_message("user", "x")):
            with pytest.raises(LockTimeout):
                wait()
        assert time.monotonic() < begin + 60
        monkeypatch.undo()


@pytest.mark.parametrize("face", FACES)
def test_a_session_that_is_closed_gives_its_lease_back(face: str) -> None:
    loop = asyncio.new_event_loop()
    store = MemorySessionStore()
    session = opener(face, loop)("s", store=store)
    lease = session.exclusive(lease=600)
    enter, leave = (lease.__enter__, lease.__exit__) if face == "blocking" else (lease.__aenter__, lease.__aexit__)
    for step in (enter, session.close, lambda: leave(None, None, None)):
        result = step()
        if asyncio.iscoroutine(result):
            loop.run_until_complete(result)
    Session("s", store=store, timeout=0.1).add_message("user", "at once")
    loop.close()


def _in_a_child(session: Session, lease: Any, done: Any) -> None:
    outcomes = []
    steps: list[Any] = [
        lambda: session.add_message("user", "child"),
        lambda: session.exclusive(timeout=0.1).__enter__(),
        lambda: lease.__exit__(None, None, None),
    ]
    for step in steps:
        try:
            outcomes.append(bool(step()))
        except (StoreError, InvalidInput) as error:
            outcomes.append(type(error).__name__)
    done.put(outcomes)


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork.*:DeprecationWarning")
def test_a_forked_child_does_not_have_its_parents_lease(tmp_path: Path) -> None:
    session = Session("s", store=url_of("sqlite", tmp_path), timeout=0.2)
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    with session.exclusive(lease=60) as lease:
        child = context.Process(target=_in_a_child, args=(session, lease, done))
        child.start()
        assert done.get(timeout=60) == ["LockTimeout", "LockTimeout", False]
        child.join()
        session.add_message("user", "parent")
    assert [message.text for message in session.messages] == ["parent"]


def test_a_copy_in_a_dict_is_used_by_nobody_else() -> None:
    session = Session("s", store=MemorySessionStore())
    session.add_message("user", "x")
    with session.exclusive(lease=600):
        copy = Session.from_dict(session.to_dict(), timeout=0.1)
        copy.add_message("user", "y")
    assert [message.text for message in copy.messages] == ["x", "y"]


def test_who_comes_too_late_ends_nobody_elses_lease() -> None:
    store = MemorySessionStore()
    late, other = Session("s", store=store), Session("s", store=store)
    late.add_message("user", "one")
    with late.exclusive(lease=0.05):
        time.sleep(0.06)
        lease = other.exclusive(lease=60)
        lease.acquire()
    other.add_message("user", "two")  # it has the lease still
    with pytest.raises(LockTimeout):
        Session("s", store=store, timeout=0.05).add_message("user", "three")
    lease.release()
    Session("s", store=store, timeout=0.05).add_message("user", "three")


def test_a_lease_without_with_is_awaited_by_an_async_session() -> None:
    async def main() -> None:
        async with AsyncSession("s", store=MemorySessionStore()) as session:
            lease = session.exclusive()
            await lease.acquire()
            await session.add_message("user", "one")
            await lease.renew()
            await lease.release()

    asyncio.run(main())


def test_a_lease_is_not_waited_for_by_an_event_loop_within_it() -> None:
    session = Session("s", store=MemorySessionStore())

    async def again() -> None:
        with pytest.raises(InvalidInput, match="already"), session.exclusive(timeout=5):
            pass

    with session.exclusive():
        asyncio.run(again())
