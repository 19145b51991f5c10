"""Sessions by id, without a handle: `DefaultSessionStore` and `HierarchicalSessionStore` with odd input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager, hookimpl
from sessile.errors import InvalidInput, SessionExists
from sessile.session.hierarchy import HierarchicalSessionStore
from sessile.session.managing.default import DefaultSessionStore


@pytest.fixture
def store() -> HierarchicalSessionStore:
    return HierarchicalSessionStore(MemorySessionStore())


def test_an_export_has_all_of_a_sessions_own_state(store: HierarchicalSessionStore) -> None:
    session = Session(store.create_session("s", "Title", "ann"), store=store.manager.store)
    session.add_messages([("user", [{"type": "text", "text": "hi"}]), ("assistant", "hello")])
    own = {"a:b": 1, "step": [1], "https://x": {"k": 2}, "username:x": 3}
    for key, value in {**own, "user:language": "en", "app:n": 1, "temp:t": 1}.items():
        session.set_state(key, value)
    exported = store.export_session("s")
    assert exported["state"] == own
    copy = store.import_session(exported, "copy")
    again = store.export_session(copy)
    assert [(m["id"], m["content"]) for m in again.pop("messages")] == [(m["id"], m["content"]) for m in exported.pop("messages")]
    assert again == {**exported, "session_id": "copy"}


def test_what_is_exported_is_the_callers(store: HierarchicalSessionStore) -> None:
    session = Session(store.create_session("s"), store=store.manager.store, metadata={})
    session.metadata = {"tags": ["a"]}
    session.add_message("user", [{"type": "text", "text": "hi"}])
    session.set_state("cart", [])
    exported = store.export_session("s")
    exported["state"]["cart"].append("x")
    exported["metadata"]["tags"].append("x")
    exported["messages"][0]["content"][0]["text"] = "x"
    again = store.export_session("s")
    assert (again["state"], again["metadata"]) == ({"cart": []}, {"tags": ["a"]})
    assert again["messages"][0]["content"][0]["text"] == "hi"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (None, "data is None: pass a dict"),
        ({"messages": None}, "'messages' of an exported session is a list"),
        ({"messages": [{"role": "user", "content": "x"}, {"role": "nobody", "content": "x"}]}, "not 'nobody'"),
        ({"state": [1]}, "'state' of an exported session is a dict"),
        ({"state": {"k": {1}}}, "is a set"),
        ({"state": {"": 1}}, "a state key is a non-empty string"),
        ({"state": {"app:admin": True}}, "is not the session's own, but of the scope 'app'"),
        ({"metadata": {"k": b""}}, "is a bytes"),
        ({"title": 5}, "'title' of an exported session is a str"),
    ],
)
def test_what_is_no_export_is_refused_and_nothing_is_stored(
    store: HierarchicalSessionStore, change: dict[str, Any] | None, why: str
) -> None:
    data = {"session_id": "s", "user_id": "ann", "messages": []}
    with pytest.raises(InvalidInput, match=why):
        store.import_session(change if change is None else {**data, **change})
    assert not store.session_exists("s")
    assert store.import_session(data) == "s"


def test_no_messages_are_asked_for_by_zero(store: HierarchicalSessionStore) -> None:
    store.add_user_message("s", "hi")
    assert store.get_chat_history("s", max_messages=0) == []
    assert store.get_chat_history("s") == [{"role": "user", "content": "hi"}]
    assert DefaultSessionStore(store.manager.store, max_messages=0).get_chat_history("s") == []
    with pytest.raises(InvalidInput, match="message_index is True"):
        store.revert_to_message("s", True)


def test_a_folder_is_taken_as_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "100% what? #1 a%20b"
    DefaultSessionStore(session_dir=folder).add_user_message("s", "hi")
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert (folder / "s").is_dir()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"max_messages": -1}, "max_messages is -1"),
        ({"lock_timeout": -1}, "lock_timeout is -1"),
        ({"lock_timeout": 1}, "MemorySessionStore has no lock"),
        ({"session_dir": "x"}, "both say where sessions are kept"),
    ],
)
def test_options_that_cannot_be_kept_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        DefaultSessionStore(MemorySessionStore(), **options)


def test_what_is_said_to_a_session_that_was_deleted_begins_a_new_one() -> None:
    store = DefaultSessionStore(MemorySessionStore())
    store.add_user_message("s", "one")
    SessionManager(store.manager.store).delete("s")
    assert store.add_user_message("s", "two")
    assert store.get_chat_history("s") == [{"role": "user", "content": "two"}]


def test_what_a_manager_does_not_open_is_closed() -> None:
    manager = SessionManager(MemorySessionStore())
    manager.create_session(session_id="taken").close()
    opened: list[str] = []

    class Opens:
        @hookimpl
        def on_session_close(self, session_id: str) -> None:
            opened.remove(session_id)

        @hookimpl
        def register(self, registry: Any) -> None:
            registry.add("service", "memory", f"{__name__}:Memory")

    Memory.opened = opened
    assert manager.get_session("nope", plugins=[Opens()], memory=True) is None
    with pytest.raises(SessionExists):
        manager.create_session(session_id="taken", plugins=[Opens()], memory=True)
    assert opened == []
    found = manager.get_session("taken", plugins=[Opens()], memory=True)
    assert (found is not None, opened) == (True, ["taken"])


class Memory:
    opened: list[str]

    def __init__(self, session: Any, option: Any) -> None:
        self.opened.append(session.session_id)
