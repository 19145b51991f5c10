"""A manager that is bound to a user: everything it does is about this user's sessions, and nobody else's."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.faces import FACES, manager_opener
from tests.stores import ALL, url_of

from sessile import AsyncSessionManager, Session, SessionManager
from sessile.errors import AccessDenied, InvalidInput


@pytest.fixture(params=[(name, face) for name in ALL for face in FACES], ids="-".join)
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    name, face = request.param
    with closing(asyncio.new_event_loop()) as loop, manager_opener(face, loop)(url_of(name, tmp_path / "store")) as manager:
        for user in ("ann", "bob"):
            session = manager.create_session(user, session_id=f"{user}-1", title=user)
            session.add_messages([("user", f"a brown fox of {user}"), ("assistant", "I see")])
            session.set_state("user:language", user)
            session.fork(session_id=f"{user}-2")
        yield manager


# What a bound manager does when it is told another user, or another's session: each raises AccessDenied.
REFUSED: dict[str, Callable[[Any, Path], Any]] = {
    "user": lambda ann, path: ann.user("bob"),
    "create_session": lambda ann, path: ann.create_session("bob", session_id="new"),
    "create_session under another's id": lambda ann, path: ann.create_session(session_id="bob-1"),
    "get_session": lambda ann, path: ann.get_session("bob-1"),
    "get_session as": lambda ann, path: ann.get_session("bob-1", "bob"),
    "get_sessions_for_user": lambda ann, path: ann.get_sessions_for_user("bob"),
    "list": lambda ann, path: ann.list(user_id="bob"),
    "each": lambda ann, path: [*ann.each(user_id="bob")],
    "import_session": lambda ann, path: ann.import_session(path, "new", user_id="bob"),
    "save": lambda ann, path: ann.save(Session("bob-1", store=ann.store)),
    "delete": lambda ann, path: ann.delete("bob-1"),
    "delete as": lambda ann, path: ann.delete("bob-1", "bob"),
    "delete cascade": lambda ann, path: ann.delete("bob-1", cascade=True),
    "delete_user": lambda ann, path: ann.delete_user("bob"),
    "sweep": lambda ann, path: ann.sweep(repair=True, older_than=0),
    "search": lambda ann, path: ann.search("fox", user_id="bob"),
    "message": lambda ann, path: ann.message("x", user_id="bob"),
}
# What it does without being told anybody: only its own sessions show, change or go.
OWN: dict[str, Callable[[Any], Any]] = {
    "list": lambda ann: sorted(header.session_id for header in ann.list()),
    "each": lambda ann: sorted(header.session_id for header in ann.each(limit=1)),
    "exists": lambda ann: [name for name in ("ann-1", "ann-2", "bob-1", "bob-2") if ann.exists(name)],
    "get_sessions_for_user": lambda ann: sorted(session.session_id for session in ann.get_sessions_for_user("ann")),
    "search": lambda ann: sorted({hit.session_id for hit in ann.search("fox")} | {"ann-2"}),
    "message": lambda ann: sorted({hit.session_id for said in _said(ann) if (hit := ann.message(said.id))} | {"ann-2"}),
    "archive_inactive": lambda ann: ["ann-1", "ann-2"][: ann.archive_inactive(days=0)],
    "delete_inactive": lambda ann: ["ann-1", "ann-2"][: ann.delete_inactive(days=0)],
    "delete_archived": lambda ann: ann.archive_inactive(days=0) and ["ann-1", "ann-2"][: ann.delete_archived()],
    "clear_all": lambda ann: ["ann-1", "ann-2"][: ann.clear_all()],
    "delete_user": lambda ann: ["ann-1", "ann-2"][: ann.delete_user("ann")],
    "delete": lambda ann: [name for name in ("ann-1", "ann-2") if ann.delete(name)],
    "delete cascade": lambda ann: ["ann-1", "ann-2"] if ann.delete("ann-1", cascade=True) else [],
}
REST = {"save", "get_session", "create_session", "import_session", "close", "user", "sweep"}  # below


def _said(ann: Any) -> list[Any]:
    """A message of every session, whosever it is, that has one."""
    everybody = SessionManager(ann.store)
    return [said for header in everybody.each() for said in Session(header.session_id, store=ann.store).messages[:1]]


def of(manager: Any, user: str) -> Any:
    sessions = [manager.get_session(header.session_id) for header in manager.each(user_id=user)]
    return [(s.session_id, s.title, s.status, s.messages, s.state) for s in sessions if s is not None]


def test_every_method_is_tested() -> None:
    tested = {name.split()[0] for name in (*REFUSED, *OWN)} | REST
    for face in (SessionManager, AsyncSessionManager):
        assert {name for name, _ in inspect.getmembers(face, callable) if not name.startswith("_")} == tested


@pytest.mark.parametrize("name", REFUSED)
def test_another_user_is_refused(manager: Any, name: str, tmp_path: Path) -> None:
    theirs = manager.get_session("bob-1")
    assert theirs is not None
    path = theirs.export(tmp_path / "bob.jsonl")
    before = of(manager, "bob"), of(manager, "ann")
    with pytest.raises(AccessDenied, match="ann"):
        REFUSED[name](manager.user("ann"), path)
    assert (of(manager, "bob"), of(manager, "ann")) == before
    assert not manager.exists("new")


@pytest.mark.parametrize("name", OWN)
def test_a_call_is_about_the_users_own_sessions(manager: Any, name: str) -> None:
    theirs = of(manager, "bob")
    assert OWN[name](manager.user("ann")) == ["ann-1", "ann-2"]
    assert of(manager, "bob") == theirs


def test_what_it_makes_is_the_users(manager: Any, tmp_path: Path) -> None:
    ann = manager.user("ann")
    assert ann.user_id == ann.user("ann").user_id == "ann"
    made = ann.create_session(session_id="ann-3")
    assert made.user_id == "ann"
    ann.save(made)
    assert made.status == "saved"
    exported = manager.get_session("bob-1").export(tmp_path / "exported.jsonl")
    saved = manager.get_session("bob-1").save(tmp_path / "saved.jsonl")
    for path in (exported, saved):
        copy = ann.import_session(path, f"ann-{path.stem}")
        assert (copy.user_id, copy.message_count, copy.state["user:language"]) == ("ann", 2, "ann")
        assert ann.exists(copy.session_id)
    assert ann.get_session("nobody's") is None
    with ann:  # closing leaves the store to the manager it came from
        pass
    assert manager.exists("ann-1")
    assert manager.get_session("ann-1").user_id == "ann"  # no user: anybody's


def test_a_user_id_is_checked_where_it_is_passed(manager: Any) -> None:
    for user in ("", "a\0", None, 5):
        with pytest.raises(InvalidInput):
            manager.user(user)
