"""What must hold whatever fails: processes that die, plugins that raise, stores that do not answer, answers that get lost."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, MemorySessionStore, Request, Session, SessionManager, hookimpl
from sessile.errors import Conflict, ModelError, PluginError, SessionNotFound, StoreError, StoreUnavailable
from sessile.store.opening import open_store
from tests.stores import ALL, DURABLE, url_of


@pytest.fixture(params=ALL)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


@pytest.fixture(params=DURABLE)
def durable_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return url_of(request.param, tmp_path)


class Slow:
    """A model that takes its time, streams three words, and then does what it is told."""

    def __init__(self, seconds: float = 0.0, error: Exception | None = None) -> None:
        self.seconds, self.error, self.calls = seconds, error, 0

    def generate(self, request: Request) -> str:
        self.calls += 1
        for word in ("one ", "two ", "three"):
            time.sleep(self.seconds)
            if request.emit is not None:
                request.emit(word)
        if self.error is not None:
            raise self.error
        return "one two three"


def contents(session: Session) -> list[str]:
    return [message.content for message in session.messages]


# -- processes


def test_a_turn_cut_by_kill_keeps_the_question(durable_url: str) -> None:
    program = f"""
import time
from sessile import Agent, Session
class Model:
    def generate(self, request):
        print("asked", flush=True)
        time.sleep(60)
Session("s", store={durable_url!r}, agent=Agent(model=Model())).chat("remember me")
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "asked\n"
    process.kill()
    process.communicate()
    session = Session("s", store=durable_url, agent=Agent(model="echo"))
    (cut,) = session.messages
    assert (cut.content, cut.open) == ("remember me", True)
    assert session.chat("next") == "next"
    assert contents(session) == ["remember me", "next", "next"]


def test_two_agents_chat_at_once_and_every_turn_stays_whole(url: str) -> None:
    def work(name: str) -> None:
        session = Session("s", store=url, agent=Agent(name, model=Slow(0.001), tools=[]))
        for number in range(10):
            session.chat(f"{name} {number}")

    keep = Session("s", store=url)  # holds the memory store while the writers come and go
    keep.add_message("system", "begin")
    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    said = keep.messages[1:]
    assert len(said) == 40
    for question, answer in zip(said[::2], said[1::2], strict=True):
        assert (question.role, answer.role) == ("user", "assistant")
        assert question.turn == answer.turn
    for name in ("a", "b"):
        own = [m.content for m in said if m.content.startswith(name)]
        assert own == [f"{name} {number}" for number in range(10)]
    for limit in range(1, 41):
        assert keep.get_history(limit) == said[-limit:]


# -- models, tools, middleware


def test_a_failed_turn_keeps_the_question_and_a_retry_stores_it_once(url: str) -> None:
    model = Slow(error=RuntimeError("no quota"))
    session = Session("s", store=url, agent=Agent(model=model))
    with pytest.raises(RuntimeError, match="no quota"):
        session.chat("hello")
    assert [(m.content, m.open) for m in session.messages] == [("hello", True)]
    model.error = None
    assert session.chat("hello") == "one two three"
    assert [(m.content, m.open) for m in session.messages] == [("hello", False), ("one two three", False)]
    assert session.chat("hello")
    assert session.message_count == 4


def test_a_stream_that_breaks_keeps_what_had_arrived(url: str) -> None:
    session = Session("s", store=url, agent=Agent(model=Slow(error=ModelError("connection lost"))))
    pieces = []
    with pytest.raises(ModelError, match="connection lost"):
        pieces.extend(session.stream("hello"))
    question, answer = session.messages
    assert (question.content, answer.content, answer.metadata) == ("hello", "one two three", {"interrupted": True})


def test_a_reader_that_leaves_a_stream_ends_the_turn(url: str) -> None:
    model = Slow(0.01)
    session = Session("s", store=url, agent=Agent(model=model))
    for piece in session.stream("hello"):
        assert piece == "one "
        break
    _, answer = session.messages
    assert answer.content in ("one ", "one two ")
    assert answer.metadata == {"interrupted": True}
    assert session.chat("go on") == "one two three"


def test_a_cancelled_chat_keeps_what_had_arrived(url: str) -> None:
    class Endless:
        async def generate(self, request: Request) -> str:
            assert request.emit is not None
            for number in range(1000):
                request.emit(f"{number} ")
                await asyncio.sleep(0.01)
            return ""

    async def main() -> list[Any]:
        async with AsyncSession("s", store=url, agent=Agent(model=Endless())) as session:
            async for piece in session.stream("count"):
                if piece == "2 ":
                    break  # the generator is closed some time after this, and before the session is
        async with AsyncSession("s", store=url) as session:
            messages: list[Any] = await session.get_history()
            return messages

    keep = Session("s", store=url)
    _, answer = asyncio.run(main())
    assert keep.message_count == 2
    assert answer.content.startswith("0 1 2 ")
    assert answer.metadata == {"interrupted": True}


def test_a_cancelled_write_ends_with_its_outcome_known(durable_url: str) -> None:
    async def main() -> tuple[int, int]:
        session = AsyncSession("s", store=durable_url)
        done = 0
        for number in range(40):
            task = asyncio.ensure_future(session.add_message("user", str(number)))
            await asyncio.sleep(0.0001 * (number % 8))
            task.cancel()
            try:
                await task
                done += 1
            except asyncio.CancelledError:
                pass
            before = await session.message_count  # what a cancelled write did, it has done by now
            await asyncio.sleep(0.002)
            assert await session.message_count == before
        said = [m.content for m in await session.get_history()]
        assert said == sorted(set(said), key=int)
        return done, len(said)

    done, stored = asyncio.run(main())
    assert done <= stored


def test_a_tool_call_without_a_result_is_kept_marked_and_not_sent(url: str) -> None:
    prompts: list[list[Any]] = []

    class Caller:
        def generate(self, request: Request) -> Any:
            prompts.append(list(request.messages))
            if request.messages[-1].content == "use the tool":
                return {"tool_calls": [{"id": "c1", "name": "die", "arguments": {}}]}
            return "fine"

    def die() -> None:
        """Stop the process, as far as the session can see."""
        raise KeyboardInterrupt

    session = Session("s", store=url, agent=Agent(model=Caller(), tools=[die]))
    assert session.chat("before") == "fine"
    with pytest.raises(KeyboardInterrupt):
        session.chat("use the tool")
    assert [(m.role, m.open) for m in session.messages[2:]] == [("user", True), ("assistant", True)]
    assert session.chat("after") == "fine"
    assert [m.content for m in prompts[-1]] == ["before", "fine", "after"]
    session.add_messages(
        [
            {"role": "user", "content": "q"},
            {"role": "assistant", "tool_calls": [{"id": "c2", "name": "die", "arguments": {}}]},
            {"role": "assistant", "content": "a reply to nothing"},
            {"role": "user", "content": "q2"},
            {"role": "assistant", "tool_calls": [{"id": "c3", "name": "die", "arguments": {}}]},
            {"role": "tool", "content": "42", "tool_call_id": "c3"},
            {"role": "assistant", "content": "it is 42"},
        ]
    )
    session.chat("last")
    assert [m.content for m in prompts[-1][4:]] == ["q", "q2", None, "42", "it is 42", "last"]


# -- plugins


class Observer:
    """Keeps what it is told, and raises when told so."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error, self.agent_error, self.seen = error, error, []

    @hookimpl
    def on_user_message(self, content: str) -> None:
        self.seen.append(content)
        if self.error:
            raise self.error

    @hookimpl
    async def on_agent_message(self, content: str) -> None:
        await asyncio.sleep(0)
        self.seen.append(content)
        if self.agent_error:
            raise self.agent_error


def test_a_plugin_that_raises_is_named_and_breaks_nothing(url: str, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Observer):
        __name__ = "broken-observer"

    broken, fine = Broken(ValueError("oops")), Observer()
    session = Session("s", store=url, agent=Agent(model="echo"), plugins=[fine, broken])
    assert session.chat("hello") == "hello"
    assert broken.seen == fine.seen == ["hello", "hello"]
    assert "plugin 'broken-observer' failed in hook 'on_user_message': ValueError: oops" in caplog.text
    assert "plugin 'broken-observer' failed in hook 'on_agent_message': ValueError: oops" in caplog.text


def test_under_strict_a_plugins_error_is_raised_and_nothing_is_stored_twice(url: str) -> None:
    observer = Observer(ValueError("oops"))
    session = Session("s", store=url, agent=Agent(model="echo"), plugins=[observer], strict=True)
    with pytest.raises(PluginError, match="on_user_message"):
        session.chat("hello")
    assert contents(session) == ["hello"]
    observer.error = observer.agent_error = None
    session.chat("hello")
    assert contents(session) == ["hello", "hello"]
    observer.agent_error = ValueError("later")
    with pytest.raises(PluginError, match="on_agent_message"):
        list(session.stream("again"))
    assert contents(session) == ["hello", "hello", "again", "again"]  # the reply was stored, and only once


# -- stores


class Faulty:
    """A real store behind a line that fails: before a commit reaches it, or after, when only the answer is lost."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.faults: Iterator[str] = iter(())

    def commit(self, *args: Any, **kwargs: Any) -> None:
        fault = next(self.faults, "")
        if fault == "dead":
            raise StoreError("the disk is full: make room")
        if fault == "before":
            raise StoreUnavailable("no route")
        self.store.commit(*args, **kwargs)
        if fault == "after":
            raise StoreUnavailable("connection reset")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def load(self, *args: Any) -> Any:
        return self.store.load(*args)

    def read(self, *args: Any) -> Any:
        return self.store.read(*args)

    def find(self, *args: Any) -> Any:
        return self.store.find(*args)

    def delete(self, *args: Any) -> Any:
        return self.store.delete(*args)

    def close(self) -> None:
        self.store.close()


def test_lost_answers_lose_and_double_nothing(url: str) -> None:
    store = Faulty(open_store(url))
    other = Session("s", store=store.store)
    session = Session("s", store=store)
    expected = []
    for number in range(30):
        store.faults = iter(["after", "before", "after"][number % 3 :: 2])
        if number % 2:
            other.add_message("user", f"other {number}")
            expected.append(f"other {number}")
        session.add_messages([("user", f"{number}a"), ("assistant", f"{number}b")])
        expected += [f"{number}a", f"{number}b"]
        store.faults = iter(["after"])
        session.increment_state("count")
    assert contents(session) == expected
    assert session.get_state("count") == 30


def test_somebody_else_commits_before_a_lost_answer_is_looked_up(url: str) -> None:
    store = Faulty(open_store(url))
    other = Session("s", store=store.store)

    class Racing(Faulty):
        def commit(self, *args: Any, **kwargs: Any) -> None:
            self.store.commit(*args, **kwargs)
            if not other.message_count > 1:
                other.add_message("user", "theirs")
                raise StoreUnavailable("connection reset")

    session = Session("s", store=Racing(store.store))
    session.add_message("user", "ours")
    assert contents(session) == ["ours", "theirs"]


def test_a_store_error_in_a_turn_is_raised_and_the_question_kept(url: str) -> None:
    store = Faulty(open_store(url))
    errors: list[BaseException] = []

    class Watch:
        def on_turn_error(self, turn: Any, error: BaseException) -> None:
            errors.append(error)

    session = Session("s", store=store, agent=Agent(model="echo"), plugins=[Watch()])
    store.faults = iter(["", "dead"])
    with pytest.raises(StoreError, match="disk is full"):
        session.chat("hello")
    assert len(errors) == 1
    assert [(m.content, m.open) for m in session.messages] == [("hello", True)]
    assert session.chat("hello") == "hello"
    assert contents(session) == ["hello", "hello"]


def test_a_store_that_stays_away_is_given_up_after_the_timeout() -> None:
    store = Faulty(MemorySessionStore())
    session = Session("s", store=store, timeout=0.05)
    store.faults = iter(["before"] * 1000)
    with pytest.raises(StoreUnavailable, match="no route"):
        session.add_message("user", "x")
    store.faults = iter(())
    session.add_message("user", "x")
    assert contents(session) == ["x"]


# -- handles


def test_a_handle_sees_what_others_committed(url: str) -> None:
    one, two = Session("s", store=url), Session("s", store=url)
    one.add_message("user", "a")
    assert contents(two) == ["a"]
    two.set_state("k", 1)
    two.add_message("user", "b")
    assert (one.message_count, one.state) == (2, {"k": 1})
    one.add_message("user", "c")
    assert contents(two) == ["a", "b", "c"]


def test_a_session_made_anew_under_the_same_id_is_another(url: str) -> None:
    stale = Session("s", store=url)
    stale.add_message("user", "old")
    SessionManager(stale.store).delete("s")
    fresh = Session("s", store=url)
    fresh.add_messages([("user", "new"), ("user", "newer")])
    for use in (lambda: stale.messages, lambda: stale.add_message("user", "lost")):
        with pytest.raises(SessionNotFound, match="was deleted while it was open"):
            use()
    assert contents(fresh) == ["new", "newer"]


def test_twenty_quick_increments_make_twenty(url: str) -> None:
    sessions = [Session("s", store=url) for _ in range(4)]
    sessions[0].set_state("app:n", 0)
    threads = [
        threading.Thread(target=lambda s=s: [(s.increment_state("n"), s.increment_state("app:n")) for _ in range(5)])
        for s in sessions
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sessions[0].get_state("n") == sessions[0].get_state("app:n") == 20


@pytest.mark.parametrize(
    ("policy", "expected"), [("ours", "b"), ("theirs", "a"), (lambda key, ours, theirs: theirs + ours, "ab")]
)
def test_conflicting_state_follows_the_policy(url: str, policy: Any, expected: str) -> None:
    one, two = Session("s", store=url), Session("s", store=url)
    one.set_state("other", 0)
    two.get_state()
    one.set_state("k", "a")
    two.set_state("k", "b", policy=policy)
    assert one.state == {"other": 0, "k": expected}


def test_conflicting_state_can_raise(url: str) -> None:
    one, two = Session("s", store=url), Session("s", store=url)
    one.set_state("k", "a")
    with pytest.raises(Conflict, match="state key 'k' was set to 'a' by somebody else"):
        two.set_state("k", "b", policy="raise")
    assert one.get_state("k") == "a"


def test_what_another_commits_behind_a_lost_answer_is_not_taken_for_seen() -> None:
    store = MemorySessionStore()
    other = Session("s", store=store)

    class Racing(MemorySessionStore):
        def __init__(self) -> None:
            super().__init__()
            self._kept = store._kept

        def commit(self, *args: Any, **kwargs: Any) -> None:
            super().commit(*args, **kwargs)
            if other.message_count == 1:
                other.add_message("user", "theirs")
                raise StoreUnavailable("connection reset")

    session = Session("s", store=Racing(), on_conflict="raise")
    session.add_message("user", "ours")
    with pytest.raises(Conflict):
        session.add_message("user", "more")
    assert contents(other) == ["ours", "theirs"]
    assert other.message_count == 2
