"""Document-style stores: what their four methods cannot do is refused, and nothing is kept for each session."""

from __future__ import annotations

import asyncio
import functools
import gc
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.documents import Documents
from tests.stores import url_of

from sessile import Session, SessionManager
from sessile.errors import CorruptStore, InvalidInput
from sessile.session import DefaultSessionStore
from sessile.store.waist import METHODS
from sessile.testing.limits import at_once


class Slow(Documents):
    async def save(self, session: Any) -> None:
        await asyncio.sleep(0.001)
        await super().save(session)


def test_sessions_of_all_users_cannot_be_listed() -> None:
    manager = SessionManager(Documents())
    for user in ("ann", "bob"):
        manager.create_session(user, session_id=user).add_message("user", "a fox")
    search = functools.partial(manager.search, "fox")
    for ask in (manager.list, lambda: [*manager.each()], manager.clear_all, manager.delete_inactive, search):
        with pytest.raises(InvalidInput, match="pass a user_id"):
            ask()
    assert [hit.session_id for hit in manager.search("fox", user_id="ann")] == ["ann"]
    assert manager.user("ann").clear_all() == 1
    assert [header.session_id for header in manager.list(user_id="bob")] == ["bob"]


def test_a_deletion_leaves_nothing_and_its_id_is_free() -> None:
    documents = Documents()
    session = Session("s", store=documents, user_id="ann")
    session.add_message("user", "a secret")
    session.delete()
    assert documents.kept == {}
    begun = Session("s", store=documents, user_id="ann")
    begun.add_message("user", "anew")
    fork = begun.fork(session_id="f")
    begun.delete()
    assert [message.text for message in fork.messages] == ["anew"]
    fork.delete(cascade=True)
    assert documents.kept == {}


def test_a_family_is_deleted_though_only_a_users_sessions_can_be_listed() -> None:
    documents = Documents()
    session = Session("s", store=documents, user_id="ann")
    session.add_message("user", "x")
    session.fork(session_id="f").fork(session_id="g")
    assert SessionManager(documents).delete("s", cascade=True)
    assert documents.kept == {}


def test_a_broken_document_is_deleted() -> None:
    documents = Documents()
    manager = SessionManager(documents)
    manager.create_session("ann", session_id="s").add_message("user", "x")
    documents.kept["s"]["header"] = "garbage"
    with pytest.raises(CorruptStore, match="document of session 's' cannot be read"):
        manager.get_session("s")
    assert manager.delete("s")
    assert documents.kept == {}


def test_two_sessions_over_one_document_store_lose_no_message() -> None:
    documents = Slow()
    sessions = [Session("s", store=documents) for _ in range(2)]

    def say(index: int) -> None:
        for number in range(20):
            sessions[index].add_message("user", f"{index}: {number}")

    at_once(*(functools.partial(say, index) for index in range(2)))
    assert len(sessions[0].messages) == 40


def test_nothing_is_kept_in_memory_for_a_session_that_was_used() -> None:
    manager = SessionManager(Documents())
    for index in range(20):
        manager.create_session(session_id=str(index)).add_message("user", "a")
    gc.collect()
    assert len(manager.store._locks._locks) <= 1  # nothing else shows what is kept


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


def test_sessions_over_one_document_store_are_in_one_store() -> None:
    documents = Documents()
    session = Session("s", store=documents)
    session.add_message("user", "one")
    session.fork(session_id="f").add_message("user", "two")
    session.add_message("user", "three")
    merged = session.merge(Session("f", store=documents))
    assert sorted(message.text for message in merged.messages) == ["one", "three", "two"]
    with pytest.raises(InvalidInput, match="in another store"):
        session.merge(Session("s", store=Documents()))


def test_a_program_that_only_copies_needs_to_import_nothing_else(tmp_path: Path) -> None:
    with Session("s", store=url_of("sqlite", tmp_path)) as session:
        session.add_message("user", "hello")
    code = (
        "import sys\n"
        "from sessile import copy_store, SessionStore\n"
        "saved = []\n"
        "class Documents(SessionStore):\n"
        "    async def save(self, session): saved.append([said.text for said in session.messages])\n"
        "    async def get(self, session_id): return None\n"
        "    async def delete(self, session_id): pass\n"
        "    async def list_for_user(self, user_id): return []\n"
        "try: copy_store(sys.argv[1], Documents())\n"
        "except Exception as error: print(type(error).__name__)\n"  # as it keeps nothing
        "print(saved)\n"
    )
    run = [sys.executable, "-c", code, url_of("sqlite", tmp_path)]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert "AttributeError" not in out
    assert "[]" in out
