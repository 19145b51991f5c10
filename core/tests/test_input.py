"""Bad input: each with its own error that says what was wrong and what to do, and nothing written."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, MemorySessionStore, Session, SessionManager, errors
from sessile.log.ids import check_id, file_name
from sessile.store.waist import Query


@pytest.fixture
def store() -> MemorySessionStore:
    return MemorySessionStore()


@pytest.mark.parametrize(
    ("session_id", "why"),
    [
        ("", "is empty"),
        ("x" * 300, "has 300 characters"),
        ("../etc", "'..' as a part of a path"),
        ("a/../b", "'..' as a part of a path"),
        ("a\\..\\b", "'..' as a part of a path"),
        (".", "'.' or"),
        ("a\x00b", "control character '\\x00'"),
        ("a\nb", "control character '\\n'"),
        (" a", "white space"),
        ("~app", "reserved"),
    ],
)
def test_session_ids_that_are_refused(store: MemorySessionStore, session_id: Any, why: str) -> None:
    with pytest.raises(errors.InvalidSessionId) as caught:
        Session(session_id, store=store)
    assert why in str(caught.value)
    with pytest.raises(errors.InvalidSessionId):
        SessionManager(store).exists(session_id)
    with pytest.raises(errors.InvalidSessionId):
        Session("fine", user_id=session_id, store=store)


@pytest.mark.parametrize("session_id", ["a", "user/alice", "user:alice", "Ünï", "a.b", "...", "x" * 255, "a b", "a%2fb"])
def test_session_ids_that_are_taken(session_id: str) -> None:
    assert check_id(session_id) == session_id


def test_file_names_are_injective_and_safe() -> None:
    ids = [
        "a",
        "A",
        "user/alice",
        "user:alice",
        "user_alice",
        "user%2falice",
        "con",
        "CON",
        "nul.txt",
        ".a",
        "a.",
        "é",
        "e\u0301",
    ]
    ids += ["x" * 255, "X" * 255, "X" * 254 + "Y", "x" * 200 + ".", "%", "%%", "..."]
    names = [file_name(session_id).lower() for session_id in ids]
    assert len(set(names)) == len(ids)
    for name in names:
        assert len(name) <= 200
        assert not set(name) & set('/\\:*?"<>|\n ')
        assert name not in ("con", "nul", ".", "..")
        assert not name.endswith(".")
    assert file_name("my-session_123") == "my-session_123"


@pytest.mark.parametrize(
    ("role", "content", "metadata", "why"),
    [
        ("robot", "x", {}, "role is one of system, user, assistant, tool, not 'robot'"),
        ("user", None, {}, "is None"),
        ("user", 7, {}, "not int (7)"),
        ("user", "a\ud800", {}, "lone surrogate"),
        ("user", "x", {"a": math.nan}, "metadata['a'] is nan"),
        ("user", "x", {"a": [1, {"b": math.inf}]}, "metadata['a'][1]['b'] is inf"),
        ("user", "x", {"a": {1, 2}}, "metadata['a'] is a set"),
        ("user", "x", {"a": {1: 2}}, "has the key 1"),
        ("user", "x", {"a": "\udfff"}, "lone surrogate"),
        ("user", "x", {"a": b"x"}, "metadata['a'] is a bytes"),
    ],
)
def test_messages_that_are_refused(store: MemorySessionStore, role: Any, content: Any, metadata: Any, why: str) -> None:
    session = Session("s", store=store)
    with pytest.raises(errors.InvalidMessage) as caught:
        session.add_message(role, content, **metadata)
    assert why in str(caught.value)
    with pytest.raises(errors.InvalidMessage):
        session.add_messages([("user", "fine"), {"role": role, "content": content, "metadata": metadata}])
    assert store.load("s") is None


@pytest.mark.parametrize("bad", [7, "text", {"content": "x"}, ("user",), {"role": "assistant", "tool_calls": [7]}])
def test_things_that_are_no_messages(store: MemorySessionStore, bad: Any) -> None:
    with pytest.raises(errors.InvalidMessage):
        Session("s", store=store).add_messages([bad])
    assert store.load("s") is None


@pytest.mark.parametrize(("key", "value"), [("", 1), ("user:", 1), ("k", object()), ("k", math.nan)])
def test_state_that_is_refused(store: MemorySessionStore, key: Any, value: Any) -> None:
    with pytest.raises(errors.InvalidState):
        Session("s", store=store).set_state(key, value)
    assert store.load("s") is None


def test_another_users_session_is_refused(store: MemorySessionStore) -> None:
    Session("s", user_id="ann", store=store).add_message("user", "secret")
    before = store.load("s")
    manager = SessionManager(store)
    for attempt in (
        lambda: Session("s", user_id="bob", store=store),
        lambda: manager.get_session("s", user_id="bob"),
        lambda: manager.delete("s", user_id="bob"),
    ):
        with pytest.raises(errors.AccessDenied, match="does not belong to user 'bob'"):
            attempt()
    assert store.load("s") == before
    assert Session("s", store=store).user_id == "ann"
    assert manager.get_sessions_for_user("bob") == []


def test_a_session_that_exists_is_not_created_again(store: MemorySessionStore) -> None:
    manager = SessionManager(store)
    manager.create_session("ann", session_id="s").add_message("user", "x")
    with pytest.raises(errors.SessionExists, match="open it with Session"):
        manager.create_session("ann", session_id="s")
    assert Session("s", store=store).message_count == 1


def test_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "run",)

    for protocol in (0, 2, 5):
        path = tmp_path / "evil.pkl"
        path.write_bytes(pickle.dumps(Evil(), protocol))
        with pytest.raises(errors.UnsafeFile, match="loading a pickle would run"):
            Session.load(path)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("write", [Session.save, Session.export])
@pytest.mark.parametrize("damage", ["cut", "line cut", "altered", "empty", "json", "newer", "binary"])
def test_saved_files_that_are_refused(tmp_path: Path, store: MemorySessionStore, damage: str, write: Callable[..., Path]) -> None:
    session = Session("s", store=store)
    session.add_messages([("user", "one"), ("assistant", "two")])
    path = write(session, tmp_path / "s.json")
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[: len(data) // 2],
            "line cut": data[: data.rindex(b"\n", 0, -1) + 1],
            "altered": data.replace(b"two", b"six"),
            "empty": b"",
            "json": b'{"a": 1}\n',
            "newer": data.replace(b'"sessile":1', b'"sessile":2'),
            "binary": b"{\xff\xfe",
        }[damage]
    )
    target = MemorySessionStore()
    with pytest.raises(errors.UnsafeFile):
        Session.load(path, store=target)
    assert target.load("s") is None


def test_other_things_that_are_refused(store: MemorySessionStore) -> None:
    with pytest.raises(errors.NotInstalled, match=r"installed: .*memory.*one that is installed"):
        Session("s", store="gopher://x")
    with pytest.raises(errors.InvalidInput, match="is no URL"):
        Session("s", store="x.db")
    with pytest.raises(errors.InvalidInput, match=r"store is .*: pass a URL"):
        Session("s", store=object())
    with pytest.raises(errors.InvalidInput, match="on_conflict"):
        Session("s", store=store, on_conflict="win")
    with pytest.raises(errors.InvalidInput, match="limit is -1: pass a whole number, 0 or more"):
        Session("s", store=store).get_history(-1)
    with pytest.raises(errors.InvalidInput, match="cursor"):
        store.find(Query(cursor="???"))
    with pytest.raises(errors.InvalidInput, match="middleware is"):
        Session("s", store=store, middleware=[7])  # type: ignore[list-item]
    with pytest.raises(errors.InvalidInput, match=r"takes \['x'\]"):
        Session("s", store=store, middleware=[lambda x: x])
    with pytest.raises(errors.SessileError, match="model is 7: pass text, an object with generate"):
        Session("s", store=store, agent=Agent(model=7)).chat("x")
    with pytest.raises(errors.NotInstalled, match="no model named 'oracle'"):
        Session("s", store=store, agent=Agent(model="oracle")).chat("x")
    with pytest.raises(errors.InvalidInput, match="agent's name"):
        Agent("")


def test_a_closed_session_says_so(store: MemorySessionStore) -> None:
    session = Session("s", store=store)
    session.close()
    for call in (
        lambda: session.add_message("user", "x"),
        lambda: session.messages,
        lambda: session.chat("x"),
        session.save_state,
    ):
        with pytest.raises(errors.Closed, match="open it again"):
            call()


def test_an_empty_user_is_nobody(store: MemorySessionStore) -> None:
    manager = SessionManager(store)
    with pytest.raises(errors.InvalidSessionId, match="user id '' is empty"):
        manager.create_session("")
    for name in ("user_id", "parent", "root"):
        with pytest.raises(errors.InvalidInput, match=f"{name.replace('_', '.')}.* is empty"):
            manager.list(**{name: ""})
        with pytest.raises(errors.InvalidInput, match=f"{name} is empty"):
            Query(**{name: ""})
    assert store.logs() == []


def test_days_in_the_future_are_none(store: MemorySessionStore) -> None:
    manager = SessionManager(store)
    manager.create_session(session_id="s").add_message("user", "x")
    calls = (lambda: manager.delete_inactive(-30), lambda: manager.archive_inactive(-1), lambda: manager.sweep(older_than=-5))
    for call in calls:
        with pytest.raises(errors.InvalidInput, match=r"(days|older_than) is -.*0 or more"):
            call()
    assert [header.status for header in manager.list()] == ["active"]


@pytest.mark.parametrize("url", ["memory://n?x=1", "sqlite:///x.db?lock_timeout="])
def test_a_parameter_of_a_url_is_taken_or_refused(url: str) -> None:
    with pytest.raises(errors.InvalidInput, match=r"leave (it )?out"):
        SessionManager(url)


def test_every_error_goes_to_another_process_and_back() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.SessileError)]
    assert len(kinds) > 15
    for kind in kinds:
        error = kind("mine", "on_user_message", ValueError("x")) if kind is errors.PluginError else kind("text")
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), str(again)) == (kind, str(error))
        if kind is errors.PluginError:
            assert (again.plugin, again.hook) == ("mine", "on_user_message")


def test_where_a_session_is_kept_is_the_managers(store: MemorySessionStore) -> None:
    manager = SessionManager(store)
    for name in ("store", "backend", "db"):
        for make in (manager.get_session, lambda session_id, **more: manager.create_session(session_id=session_id, **more)):
            with pytest.raises(errors.InvalidInput, match=f"{name}: where a session is kept is the manager's"):
                make("s", **{name: "memory://"})


@pytest.mark.parametrize("write", [Session.save, Session.export])
def test_a_file_is_not_imported_under_an_id_that_is_another_users(
    tmp_path: Path, store: MemorySessionStore, write: Callable[..., Path]
) -> None:
    session = Session("s", user_id="ann", store=store)
    session.add_message("user", "x")
    path = write(session, tmp_path / "s.json")
    with pytest.raises(errors.SessionExists, match="'s' exists already"):
        SessionManager(store).user("bob").import_session(path)
    assert SessionManager(store).user("bob").import_session(path, "mine").user_id == "bob"


def test_a_message_id_is_printable(store: MemorySessionStore) -> None:
    with pytest.raises(errors.InvalidMessage, match=r"id 'a.x00b' has"):
        Session("s", store=store).add_message("user", "x", id="a\0b")
    assert store.logs() == []
