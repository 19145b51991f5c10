"""Document-style stores: what their four methods cannot do is refused, and nothing is kept for each session."""

from __future__ import annotations

import functools
import gc
from pathlib import Path
from typing import Any

import pytest
from tests.stores import url_of

from sessile import Session, SessionManager, SessionStore
from sessile.errors import InvalidInput
from sessile.session import DefaultSessionStore
from sessile.store import METHODS


class Documents(SessionStore):
    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def save(self, session: Any) -> None:
        self.kept[session.session_id] = session.to_dict()

    async def get(self, session_id: str) -> Any:
        return Session.from_dict(self.kept[session_id]) if session_id in self.kept else None

    async def delete(self, session_id: str) -> None:
        self.kept.pop(session_id, None)

    async def list_for_user(self, user_id: str) -> list[Any]:
        return [session for session in map(Session.from_dict, self.kept.values()) if session.user_id == user_id]


def test_sessions_of_all_users_cannot_be_listed() -> None:
    manager = SessionManager(Documents())
    for user in ("ann", "bob"):
        manager.create_session(user, user).add_message("user", "a fox")
    search = functools.partial(manager.search, "fox")
    for ask in (manager.list, lambda: [*manager.each()], manager.clear_all, manager.delete_inactive, search):
        with pytest.raises(InvalidInput, match="pass a user_id"):
            ask()
    assert [hit.session_id for hit in manager.search("fox", user_id="ann")] == ["ann"]
    assert manager.user("ann").clear_all() == 1
    assert [header.session_id for header in manager.list(user_id="bob")] == ["bob"]


def test_nothing_is_kept_in_memory_for_a_session_that_was_used() -> None:
    manager = SessionManager(Documents())
    for index in range(20):
        manager.create_session(session_id=str(index)).add_message("user", "a")
    gc.collect()
    assert len(manager.store._locks) <= 1  # nothing else shows what is kept


def test_what_is_no_store_is_told_each_method_that_makes_one() -> None:
    with pytest.raises(InvalidInput, match=", ".join(METHODS)):
        Session(store=object())
    named = dict.fromkeys(METHODS, lambda *_, **__: None)
    assert Session(store=type("Mine", (), named)()).message_count == 0


@pytest.mark.parametrize("kind", ["file", "sqlite"])
def test_a_lock_timeout_changes_no_store_that_others_have_open(kind: str, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path)
    with SessionManager(url) as manager:
        manager.create_session(session_id="s").add_message("user", "a")
        before = manager.store.lock_timeout
        by_id = DefaultSessionStore(url, lock_timeout=1.5)
        assert (manager.store.lock_timeout, by_id.manager.store.lock_timeout) == (before, 1.5)
        assert by_id.get_chat_history("s") == [{"role": "user", "content": "a"}]
        with pytest.raises(InvalidInput, match=r"make the .* with it"):
            DefaultSessionStore(manager.store, lock_timeout=1)
        by_id.manager.close()
