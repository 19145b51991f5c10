"""The API that users know from agent frameworks: every documented way to use a session, run as documented."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, MemoryConfig, Runner, Session
from sessile.errors import AccessDenied, SessionNotFound
from sessile.session import get_default_session_store
from sessile.sessions import MemorySessionStore, SessionManager, SessionStore, SQLiteSessionStore
from sessile.testing.fixtures import headers


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths and the default store are the test's own; the echo model answers where none is named."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSILE_MODEL", "echo")


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real embedded model answers."""
    monkeypatch.setenv("SESSILE_MODEL", "smollm")


# -- a session that remembers


@pytest.mark.usefixtures("embedded")
def test_a_session_remembers_what_was_said_in_it() -> None:
    session_id = str(uuid.uuid4())
    agent = Agent(name="Assistant", instructions="You are a helpful assistant with memory")
    session = Session(session_id=session_id, agent=agent)
    session.chat("My name is Alice")
    assert "Alice" in session.chat("What's my name?")


@pytest.mark.usefixtures("embedded")
def test_an_agent_with_a_session_id_remembers_in_another_process() -> None:
    program = """
from sessile import Agent
agent = Agent(name="Assistant", instructions="You are a helpful assistant", memory={"session_id": "my-session-123"})
print(agent.start(SAID))
"""
    for said, expected in (("My name is Alice and I love pizza", ""), ("What's my name?", "Alice")):
        run = subprocess.run(
            [sys.executable, "-c", program.replace("SAID", repr(said))], capture_output=True, text=True, check=True
        )
        assert expected in run.stdout


@pytest.mark.usefixtures("embedded")
def test_preferences_told_once_are_known_later() -> None:
    agent = Agent(name="MemoryAgent", instructions="Remember user preferences and past conversations")
    session = Session(session_id="user_123", agent=agent)
    session.chat("I prefer Python over JavaScript")
    session.chat("My favourite colour is blue")
    later = Session(session_id="user_123", agent=agent)
    assert "Python" in later.chat("What's my favourite programming language?")


def test_save_to_a_path_and_load() -> None:
    session = Session(session_id="alice", agent=Agent("A", "Be brief."))
    session.chat("We discussed tea")
    session.set_state("step", 2)
    session.save("sessions/alice_session.pkl")
    restored = Session.load("sessions/alice_session.pkl")
    assert [m.content for m in restored.messages] == ["We discussed tea"] * 2
    assert restored.get_state("step") == 2
    assert restored.agent.instructions == "Be brief."
    assert restored.chat("What did we discuss earlier?")
    assert Path("sessions/alice_session.pkl").read_bytes().startswith(b"{")


def test_a_checkpointing_subclass(capsys: pytest.CaptureFixture[str]) -> None:
    class CheckpointedSession(Session):
        def __init__(self, *args: Any, interval: int = 5, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.interval = interval
            self.interaction_count = 0
            self.checkpoint_dir = f"checkpoints/{self.session_id}"

        def chat(self, message: str) -> str:  # type: ignore[override]
            response = super().chat(message)
            self.interaction_count += 1
            if self.interaction_count % self.interval == 0:
                self.create_checkpoint()
            return response

        def create_checkpoint(self) -> None:
            path = f"{self.checkpoint_dir}/checkpoint_{self.interaction_count}.pkl"
            self.save(path)
            print(f"Checkpoint created: {path}")

        def restore_checkpoint(self, number: int) -> None:
            restored = Session.load(f"{self.checkpoint_dir}/checkpoint_{number}.pkl")
            self.__dict__.update(restored.__dict__)

    session = CheckpointedSession(session_id="c", agent=Agent("A"), interval=2)
    for text in ("one", "two", "three"):
        session.chat(text)
    assert capsys.readouterr().out == "Checkpoint created: checkpoints/c/checkpoint_2.pkl\n"
    session.restore_checkpoint(2)
    assert [m.content for m in session.get_history() if m.role == "user"] == ["one", "two"]
    session.chat("another way")
    assert Session("c").message_count == 6


def test_a_subclass_that_builds_context() -> None:
    class ContextualSession(Session):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.context_window = 10
            self.user_profile: dict[str, Any] = {}
            self.session_metadata = {"created_at": datetime.now(), "interactions": 0}

        def build_context(self) -> dict[str, Any]:
            recent = self.get_history()[-self.context_window :]
            return {
                "user_profile": self.user_profile,
                "recent_topics": self.extract_topics(recent),
                "session_duration": (datetime.now() - self.session_metadata["created_at"]).seconds,
                "interaction_count": self.session_metadata["interactions"],
            }

        def chat(self, message: str) -> str:  # type: ignore[override]
            self.session_metadata["interactions"] += 1
            self.agent.context = self.build_context()
            return super().chat(message)

    session = ContextualSession(session_id="ctx")
    session.user_profile["tone"] = "dry"
    session.chat("The weather in Lisbon, the weather in Porto")
    session.chat("More weather")
    assert session.agent.context["recent_topics"][0] == "weather"
    assert session.agent.context["interaction_count"] == 2
    assert session.agent.context["user_profile"] == {"tone": "dry"}


def test_a_session_whose_state_lives_elsewhere_too() -> None:
    """The distributed-session recipe, with a dict for the other place: JSON of get_history(), then set_history()."""
    elsewhere: dict[str, str] = {}

    class DistributedSession(Session):
        def save_state(self) -> None:  # type: ignore[override]
            state = {
                "history": self.get_history(),
                "user_data": getattr(self, "user_data", {}),
                "metadata": getattr(self, "metadata", {}),
            }
            elsewhere[self.session_id] = json.dumps(state)

        def load_state(self) -> bool:
            if self.session_id not in elsewhere:
                return False
            state = json.loads(elsewhere[self.session_id])
            self.set_history(state["history"])
            self.user_data = state["user_data"]
            self.metadata = state["metadata"]
            return True

        def chat(self, message: str) -> str:  # type: ignore[override]
            self.load_state()
            response = super().chat(message)
            self.save_state()
            return response

    first = DistributedSession("d", store=MemorySessionStore())
    first.chat("hello")
    first.metadata = {"channel": "web"}
    first.save_state()
    second = DistributedSession("d", store=MemorySessionStore())
    second.chat("again")
    assert [m.content for m in second.get_history()] == ["hello", "hello", "again", "again"]
    assert second.metadata == {"channel": "web"}
    version = second.store.load("d").version
    second.load_state()
    assert second.store.load("d").version == version  # the same history again changes nothing


def test_state_in_versions_kept_by_a_subclass() -> None:
    class VersionedSession(Session):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.state_versions: list[dict[str, Any]] = []

        def keep(self) -> int:
            self.state_versions.append({"state": self.get_state()})
            return len(self.state_versions) - 1

        def back_to(self, number: int) -> None:
            self.set_state(self.state_versions[number]["state"])

    session = VersionedSession("v")
    session.set_state("a", 1)
    version = session.keep()
    session.set_state({"a": 2, "b": 3})
    assert session.get_state() == {"a": 2, "b": 3}
    session.back_to(version)
    assert session.get_state() == {"a": 1}


def test_histories_are_merged_by_time() -> None:
    ours, theirs = Session("m1"), Session("m2")
    for session, text in ((ours, "1"), (theirs, "2"), (ours, "3")):
        session.add_message("user", text)
    merged = ours.get_history() + theirs.get_history()
    merged.sort(key=lambda x: x.get("timestamp", 0))
    target = Session(session_id=f"{ours.session_id}_merged", agent=ours.agent)
    target.set_history(merged)
    assert [m.content for m in Session("m1_merged").messages] == ["1", "2", "3"]


def test_managed_by_with() -> None:
    class ManagedSession(Session):
        def __enter__(self) -> ManagedSession:
            with contextlib.suppress(FileNotFoundError):
                self.load(f"sessions/{self.session_id}.pkl")
            return self

        def __exit__(self, *_: object) -> None:
            self.save(f"sessions/{self.session_id}.pkl")

    for count in (2, 4):
        with ManagedSession(session_id="user_789") as session:
            session.chat("Process this request")
            assert session.message_count == count


def test_old_saved_files_are_cleaned_up() -> None:
    for name, age in (("new", 1), ("old", 40)):
        path = Session(name).save(f"sessions/{name}.pkl")
        then = (datetime.now() - timedelta(days=age)).timestamp()
        os.utime(path, (then, then))
    cutoff = datetime.now() - timedelta(days=30)
    for name in os.listdir("sessions"):
        path = os.path.join("sessions", name)
        if datetime.fromtimestamp(os.path.getmtime(path)) < cutoff:
            os.remove(path)
    assert os.listdir("sessions") == ["new.pkl"]


def test_a_subclass_that_signs_tokens() -> None:
    class SecureSession(Session):
        def __init__(self, *args: Any, secret_key: bytes | None = None, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.secret_key = secret_key or os.urandom(32)

        def token(self) -> str:
            message = f"{self.session_id}:{datetime.now().isoformat()}"
            return f"{message}:{hmac.new(self.secret_key, message.encode(), hashlib.sha256).hexdigest()}"

    assert SecureSession("secure").token().startswith("secure:")


def test_preferences_are_the_users() -> None:
    session = Session("p1", user_id="ann")
    session.update_preference("language", "en-GB")
    session.update_preference("timezone", "Europe/London")
    assert Session("p2", user_id="ann").get_preferences() == {"language": "en-GB", "timezone": "Europe/London"}
    assert Session("p3", user_id="bob").get_preference("language", "none") == "none"


# -- agents in a session


def test_agents_made_in_a_session_share_it() -> None:
    session = Session(session_id="team_session", user_id="user_456")
    researcher = session.Agent(name="Researcher", instructions="You research topics")
    writer = session.Agent(name="Writer", instructions="You write content", memory=True)
    assert researcher.chat("Research AI trends") == "Research AI trends"
    assert writer.chat("Write an article about the research")
    assert researcher.start("And then?")
    assert session.message_count == 6
    assert session.agent is researcher


def test_run_agent_by_name() -> None:
    session = Session("project_x", agents={"research": Agent("Researcher"), "writer": Agent("Writer")})
    assert session.run_agent("research", "Research quantum computing") == "Research quantum computing"
    with pytest.raises(LookupError, match="no agent 'editor'"):
        session.run_agent("editor", "x")


def test_saving_and_restoring_state() -> None:
    session = Session(session_id="research-project", user_id="researcher-1")
    with pytest.raises(SessionNotFound):
        session.restore_state()
    session.save_state({"project": "ML Research", "papers_found": 5})
    again = Session(session_id="research-project")
    assert again.restore_state() == {"project": "ML Research", "papers_found": 5}
    again.save_state()
    assert again.Agent(name="Assistant").chat("What were we discussing?")


def test_the_session_context() -> None:
    session = Session(session_id="chat_123", user_id="user_456", metadata={"channel": "web"})
    session.add_message("user", "hi")
    context = session.get_context()
    assert (context["session_id"], context["user_id"], context["message_count"]) == ("chat_123", "user_456", 1)
    assert datetime.fromisoformat(context["created_at"]) == session.created_at
    assert context["metadata"] == {"channel": "web"}
    assert session.get_duration() >= 0


def test_middleware_of_message_and_response(capsys: pytest.CaptureFixture[str]) -> None:
    def logging_middleware(message: str, response: str) -> str:
        print(f"Message: {message}; Response: {response[:100]}...")
        return response

    session = Session(session_id="logged_session", middleware=[logging_middleware])
    assert session.chat("hello") == "hello"
    assert capsys.readouterr().out == "Message: hello; Response: hello...\n"


def test_an_agent_behind_a_web_handler() -> None:
    agent = Agent(name="Remote Assistant", instructions="You are helpful.", memory=True)
    for session_id in ("a", "b", "a"):
        assert agent.chat("hi", session_id=session_id) == "hi"
    assert Session("a").message_count == 4
    assert Session("b").message_count == 2


# -- where it is stored


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"session_id": "s"}, Path.home),
        ({"session_id": "s", "db": "sqlite:///sessions.db"}, Path.cwd),
        ({"session_id": "s", "backend": "sqlite"}, Path.home),
        (MemoryConfig(session_id="s", user_id="u", backend="file", auto_memory=True), Path.home),
    ],
)
def test_memory_with_a_session_id_is_stored(memory: Any, expected: Callable[[], Path]) -> None:
    Agent(name="Assistant", memory=memory).start("hello")
    assert any(expected().rglob("*")), "nothing was stored"
    again = Agent(name="Assistant", memory=memory)
    assert again.session.message_count == 2


@pytest.mark.parametrize("memory", [True, None, {}])
def test_memory_without_a_session_id_ends_with_the_process(memory: Any, tmp_path: Path) -> None:
    agent = Agent(name="Assistant", memory=memory)
    agent.start("hello")
    assert agent.session.message_count == 2
    assert not [*tmp_path.iterdir(), *Path.home().iterdir()]


def test_a_database_whose_plugin_is_missing_names_it() -> None:
    with pytest.raises(LookupError, match=r"no store named 'foundation' is installed.*one that is installed") as caught:
        Agent(name="Assistant", memory={"session_id": "user-123", "db": "foundation://user:secret@localhost/mydb"}).start("x")
    assert "secret" not in str(caught.value)


def test_users_are_isolated() -> None:
    def agent_for(user_id: str) -> Agent:
        return Agent(name="Assistant", memory=MemoryConfig(session_id=f"user-{user_id}-main", user_id=user_id))

    agent_for("alice").start("My favorite color is blue")
    agent_for("bob").start("My favorite color is red")
    assert Session("user-bob-main").messages[0].content == "My favorite color is red"
    with pytest.raises(AccessDenied):
        Session("user-alice-main", user_id="bob")


def test_a_database_adapter_of_ones_own() -> None:
    calls: list[tuple[Any, ...]] = []

    class MyDbAdapter:
        def on_agent_start(self, agent_name: str, session_id: str, user_id: str | None = None, metadata: Any = None) -> list[Any]:
            calls.append(("start", agent_name, session_id, user_id))
            return [{"role": "user", "content": "from before"}, {"role": "assistant", "content": "noted"}]

        def on_user_message(self, session_id: str, content: str, metadata: Any = None) -> None:
            calls.append(("user", session_id, content))

        def on_agent_message(self, session_id: str, content: str, metadata: Any = None) -> None:
            calls.append(("agent", session_id, content))

    agent = Agent(name="Assistant", memory={"session_id": "my-session"}, db=MyDbAdapter())
    agent.start("hello")
    assert calls[0] == ("start", "Assistant", "my-session", "default_user")
    assert calls[-2:] == [("user", "my-session", "hello"), ("agent", "my-session", "hello")]
    assert [m.content for m in agent.session.messages] == ["from before", "noted", "hello", "hello"]
    assert not list(Path.home().iterdir())  # the adapter stores


def test_direct_access_to_the_store() -> None:
    store = get_default_session_store()
    assert store.get_chat_history("session-123") == []
    assert store.add_user_message("session-123", "Hello!")
    assert store.add_assistant_message("session-123", "Hi there!")
    assert store.get_chat_history("session-123") == [
        {"role": "user", "content": "Hello!"},
        {"role": "assistant", "content": "Hi there!"},
    ]
    assert store.get_chat_history("session-123", max_messages=1) == [{"role": "assistant", "content": "Hi there!"}]
    assert [s["session_id"] for s in store.list_sessions(limit=50)] == ["session-123"]
    store.invalidate_cache("session-123")
    assert store.session_exists("session-123")
    assert store.delete_session("session-123")
    assert store.list_sessions() == []
    assert store.add_user_message("session-123", "new")
    assert store is get_default_session_store()


def test_limits_of_the_default_store() -> None:
    from sessile.session import DefaultSessionStore

    store = DefaultSessionStore(max_messages=3, lock_timeout=1.5)
    for index in range(5):
        store.add_user_message("s", str(index))
    assert [m["content"] for m in store.get_chat_history("s")] == ["2", "3", "4"]
    assert store.manager.store.lock_timeout == 1.5


def test_closing_twice_is_fine_and_done_by_with() -> None:
    with Session("s") as session:
        session.chat("x")
    session.close()
    with pytest.raises(Exception, match="closed"):
        session.chat("y")


# -- the manager


def test_the_manager_with_sqlite() -> None:
    manager = SessionManager(store=SQLiteSessionStore("sessions.db"))
    session = manager.create_session(user_id="user123")
    session.add_message("user", "Hello!")
    session.add_message("assistant", "Hi there!")
    manager.save(session)
    found = manager.get_session(session.session_id)
    assert found is not None
    assert [(m.role, m.content) for m in found.messages] == [("user", "Hello!"), ("assistant", "Hi there!")]
    assert found.status == "saved"
    found.add_message("user", "more")
    assert found.status == "active"
    assert manager.get_session("unknown") is None


def test_a_session_object() -> None:
    session = Session(session_id="sess_abc123", user_id="user123", metadata={"channel": "web", "language": "en"})
    session.add_message("user", "What is sessile?")
    session.add_message("assistant", "Attached.", confidence=0.9)
    assert [f"{m.role}: {m.content}" for m in session.messages] == ["user: What is sessile?", "assistant: Attached."]
    assert session.messages[1].metadata == {"confidence": 0.9}
    session.set_state("last_topic", "sessile")
    assert session.get_state("last_topic") == "sessile"
    assert session.created_at <= session.updated_at
    assert session.message_count == 2


def test_stores_by_their_names() -> None:
    assert SQLiteSessionStore(path="sessions.db", table_name="sessions").path == Path("sessions.db").absolute()
    assert MemorySessionStore().load("x") is None


def test_an_agent_run_with_a_history() -> None:
    manager = SessionManager(store=SQLiteSessionStore("chat.db"))
    agent = Agent(name="Assistant", instructions="You are helpful.")

    async def chat(user_id: str, message: str) -> str:
        sessions = manager.get_sessions_for_user(user_id)
        session = sessions[0] if sessions else manager.create_session(user_id)
        history = [{"role": msg.role, "content": msg.content} for msg in session.messages]
        result = await Runner.run_async(agent, message, history=history)
        session.add_message("user", message)
        session.add_message("assistant", result.final_output)
        manager.save(session)
        return str(result.final_output)

    assert asyncio.run(chat("u", "one")) == "one"
    assert asyncio.run(chat("u", "two")) == "two"
    (session,) = manager.get_sessions_for_user("u")
    assert session.message_count == 4
    assert Runner.run(agent, "three", history=[("user", "a")]).final_output == "three"


def test_looking_after_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = SessionManager(MemorySessionStore())
    old, new = manager.create_session("user123"), manager.create_session("user123")
    assert [s.session_id for s in manager.get_sessions_for_user("user123")] == [new.session_id, old.session_id]
    assert manager.archive_inactive(days=30) == 0
    assert manager.archive_inactive(days=0) == 2
    assert old.status == "archived"
    new.add_message("user", "back again")
    assert (new.status, manager.delete_archived()) == ("active", 1)
    assert manager.delete(new.session_id)
    assert not manager.delete(new.session_id)
    manager.create_session("a")
    manager.create_session("b").set_state("app:shared", 1)
    assert manager.clear_all() == 2
    assert list(manager.each()) == []
    assert headers(manager.store, prefix="~") == []


def test_expired_sessions_are_deleted() -> None:
    manager = SessionManager(MemorySessionStore())
    manager.create_session("u")
    assert manager.delete_inactive(days=1) == 0
    assert manager.delete_inactive(days=0) == 1


def test_a_custom_async_store() -> None:
    kept: dict[str, dict[str, Any]] = {}

    class PostgresSessionStore(SessionStore):
        """Keeps JSON where a real one would have rows."""

        def __init__(self, connection_string: str) -> None:
            self.connection_string = connection_string

        async def save(self, session: Session) -> None:
            kept[session.session_id] = json.loads(json.dumps(session.to_dict()))

        async def get(self, session_id: str) -> Session | None:
            return Session.from_dict(kept[session_id]) if session_id in kept else None

        async def delete(self, session_id: str) -> None:
            kept.pop(session_id, None)

        async def list_for_user(self, user_id: str) -> list[Session]:
            return [s for s in map(Session.from_dict, kept.values()) if s.user_id == user_id]

    store = PostgresSessionStore("postgresql://…")
    manager = SessionManager(store=store)
    session = manager.create_session(user_id="u", session_id="s")
    assert session.chat("hello") == "hello"
    session.set_state("k", {"v": 1})
    again = Session("s", store=store)
    assert [m.content for m in again.messages] == ["hello", "hello"]
    assert again.state == {"k": {"v": 1}}
    assert [s.session_id for s in manager.get_sessions_for_user("u")] == ["s"]
    assert manager.delete("s")
    assert manager.get_session("s") is None
