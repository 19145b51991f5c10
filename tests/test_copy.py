"""Copying whole stores, from each kind into each other; what `copy`, `migrate` and `doctor` say on the command line."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile.errors import Closed, InvalidInput, NotInstalled
from sessile.log.header import Header
from sessile.store.opening import open_store
from sessile.testing.waist.deleting import Cut, CutStore
from sessile.transfer.copying import copy_store
from sessile.transfer.transplant import OF_THE_LOG
from tests.stores import url_of
from tests.test_cli import sessile

ALIKE = (*OF_THE_LOG, "session_id", "user_id", "status", "created_at", "updated_at", "title", "metadata")
ROUTES = [("file", "redis"), ("redis", "postgres"), ("postgres", "mongodb"), ("mongodb", "sqlite"), ("sqlite", "file")]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    def of(kind: str, name: str) -> str:
        if kind in ("file", "sqlite"):
            return url_of(kind, tmp_path / name)
        return request.getfixturevalue(f"{kind}_server").url()

    return of


def fill(url: str) -> None:
    """Forks of forks, one of a deleted session, snapshots, reverts, shared state, two users."""
    with Session("root", store=url, user_id="ann", metadata={"m": [1, "é", None]}) as root:
        root.add_messages([("user", f"{number} \u0000 {1e300}") for number in range(300)])
        root.set_state({"big": 1e23, "user:language": "pt", "app:motd": "hi"})
        root.snapshot("three hundred")
        gone = root.fork(200, "gone", title="a title")
        gone.add_message("assistant", "of a deleted session")
        gone.fork(session_id="child").add_message("user", "last")
        gone.delete()
        root.revert(3)
    with Session("other", store=url, user_id="bob") as other:
        other.add_message("user", "hello")


def contents(url: str) -> dict[str, Any]:
    with SessionManager(url) as manager:
        found = {}
        for header in manager.each():
            session = manager.get_session(header.session_id)
            assert session is not None
            assert session.verify()
            said = [(m.id, m.content) for m in session.messages]
            about = {name: getattr(header, name) for name in ALIKE}, [row.stop for row in header.ancestors]
            found[header.session_id] = (about, said, session.state, [s.label for s in session.snapshots()], session.tree())
        return found


@pytest.mark.parametrize(("source", "target"), ROUTES, ids=lambda kind: kind)
def test_everything_comes_along(place: Any, source: str, target: str) -> None:
    here, there = place(source, "here"), place(target, "there")
    fill(here)
    steps: list[tuple[int, int]] = []
    report = copy_store(here, there, verify=True, progress=lambda done, total: steps.append((done, total)))
    assert (report.problems, report.same) == ([], 0)
    assert report.sessions == 5  # three, and the two that hold shared state
    assert report.entries == 311  # with what the child inherited of the deleted one
    assert steps[-1] == (5, 5)
    assert contents(there) == contents(here)
    assert copy_store(here, there).same == 5
    with Session("root", store=here) as session:
        session.add_message("user", "said since")
    with Session("other", store=there) as session:
        session.add_message("user", "said there")
    again = copy_store(here, there)
    assert (again.sessions, again.same) == (1, 4 - 1)
    assert again.problems == ["other: the target has another session of this id, or it was changed there: it was left as it is"]
    with Session("root", store=there) as session:
        assert session.get_history(1)[0].text == "said since"
        session.revert("three hundred")
        assert session.message_count == 300


def test_a_copy_goes_on_where_it_was_interrupted(tmp_path: Path) -> None:
    here, there = url_of("file", tmp_path / "here"), url_of("sqlite", tmp_path / "there")
    fill(here)
    store = open_store(there)
    cuts = 0
    while True:
        try:
            report = copy_store(here, CutStore(store, 7 + 3 * cuts, after=cuts % 2 == 1))
            break
        except Cut:
            cuts += 1
            with SessionManager(store) as manager:  # what is there is whole
                for header in manager.each():
                    whole = contents(here)[header.session_id]
                    assert [m.content for m in manager.get_session(header.session_id).messages] == [text for _, text in whole[1]]
    assert cuts > 1
    assert report.problems == []
    store.close()
    assert contents(there) == contents(here)


@pytest.mark.parametrize("argument", [{"progress": 5}, {"since": "now"}, {"user_id": 5}, {"check": "yes"}, {"nope": 1}])
def test_an_argument_that_is_none_is_refused(argument: dict[str, Any], tmp_path: Path) -> None:
    (name,) = argument
    with pytest.raises(InvalidInput, match=f"copy_store.*{name}"):
        copy_store(url_of("file", tmp_path / "here"), url_of("file", tmp_path / "there"), **argument)
    assert not list(tmp_path.iterdir())


def test_of_one_user_or_since_a_time(tmp_path: Path) -> None:
    here = url_of("sqlite", tmp_path / "here")
    fill(here)
    copy_store(here, url_of("file", tmp_path / "bob"), user_id="bob")
    assert {*contents(url_of("file", tmp_path / "bob"))} == {"other"}
    with SessionManager(here) as manager:
        since = manager.list(prefix="child").items[0].updated_at
    copy_store(here, url_of("file", tmp_path / "new"), since=since)
    assert {*contents(url_of("file", tmp_path / "new"))} == {"child", "root", "other"}
    there = url_of("file", tmp_path / "commanded")
    for options, copied in ((("--since", "2999-01-01"), 0), (("--user", "bob", "--since", "2020-01-01"), 1)):
        assert json.loads(sessile("copy", here, there, *options, "--json").stdout)["sessions"] == copied


@pytest.mark.parametrize("kind", ["file", "sqlite", "redis", "postgres", "mongodb"])
def test_copy_migrate_and_doctor_on_the_command_line(place: Any, kind: str, tmp_path: Path) -> None:
    here, there = url_of("file", tmp_path / "source"), place(kind, "target")
    assert "schema" in sessile("migrate", there).stdout
    fill(here)
    done = sessile("copy", here, there, "--verify")
    assert done.stdout == "copied 5 sessions with 311 entries; 0 were there already, verified\n"
    assert json.loads(sessile("copy", here, there, "--json").stdout)["same"] == 5
    with Session("other", store=there) as session:
        session.add_message("user", "x")
    done = sessile("copy", here, there, code=1)
    assert done.stderr.startswith("not copied: other: the target has another session")
    assert "already" in sessile("migrate", there).stdout or kind in ("file", "redis")
    doctor = sessile("doctor", there, "--repair").stdout
    assert "has sessions" in doctor
    assert "latency_ms" in doctor
    assert "secret-word" not in doctor
    named = {
        "sqlite": ("SQLite 3",),
        "redis": ("Redis 6.2", "always", "noeviction"),
        "postgres": ("PostgreSQL 18",),
        "mongodb": ("MongoDB ",),
    }
    for text in named.get(kind, ()):
        assert text in doctor


def test_a_fork_has_what_it_inherits_though_its_parent_was_changed_while_it_was_copied() -> None:
    here, there = MemorySessionStore(), MemorySessionStore()
    parent = Session("parent", store=here)
    parent.add_message("user", "one")
    copy_store(here, there)
    parent.add_message("user", "two")
    parent.fork(session_id="child")

    class Overtaken(MemorySessionStore):
        """Somebody else commits just before the parent is brought up."""

        def __init__(self) -> None:
            self.commits = 0

        def __getattribute__(self, name: str) -> Any:
            return object.__getattribute__(self, name) if name in ("commit", "commits") else getattr(there, name)

        def commit(self, session_id: str, **how: Any) -> None:
            self.commits += session_id == "parent"
            if session_id == "parent" and self.commits == 1:
                Session("parent", store=there).title = "another"
            there.commit(session_id, **how)

    assert len(copy_store(here, Overtaken()).problems) == 1
    child = Session("child", store=there)
    assert child.verify()
    assert [message.text for message in child.messages] == ["one", "two"]
    assert copy_store(here, there).problems == []
    assert Session("parent", store=there).message_count == 2


def test_forks_of_a_deleted_session_inherit_all_though_the_target_has_only_its_beginning() -> None:
    here, there = MemorySessionStore(), MemorySessionStore()
    parent = Session("parent", store=here)
    parent.add_message("user", "one")
    copy_store(here, there)
    parent.add_message("user", "two")
    parent.fork(session_id="long")
    parent.fork(1, session_id="short")  # is copied first, and inherits from the parent that is there
    parent.fork(0, session_id="empty")
    parent.delete()
    assert copy_store(here, there).problems == []
    for name, texts in (("long", ["one", "two"]), ("short", ["one"]), ("empty", []), ("parent", ["one"])):
        session = Session(name, store=there)
        assert session.verify(), name
        assert [message.text for message in session.messages] == texts


def test_shared_state_that_somebody_begins_meanwhile_is_left_as_it_is() -> None:
    source, target = MemorySessionStore(), MemorySessionStore()
    for store, language in ((source, "pt"), (target, "en")):
        Session("s", user_id="ann", store=store).set_state("user:language", language)

    class Late(MemorySessionStore):
        """Sees the target's record of shared state only once it is in the way."""

        def load(self, session_id: str) -> Header | None:
            return None if session_id == "~user:ann" else target.load(session_id)

        def commit(self, *args: Any, **kwargs: Any) -> None:
            target.commit(*args, **kwargs)

    report = copy_store(source, Late())
    assert [problem.partition(":")[0] for problem in report.problems] == ["~user"]
    assert Session("s", user_id="ann", store=target).get_state("user:language") == "en"


def test_a_session_that_changes_while_a_store_is_copied_comes_along() -> None:
    here, there = MemorySessionStore(), MemorySessionStore()
    for number in range(1200):  # more than one page
        Session(f"s{number}", store=here).add_message("user", "one")

    def meanwhile(done: int, total: int) -> None:
        if done == 10:
            Session("s5", store=here).add_message("user", "two")
            Session("s6", store=here).delete()

    assert (report := copy_store(here, there, verify=True, progress=meanwhile)).problems == []
    assert report.sessions == 1199
    assert [message.text for message in Session("s5", store=there).messages] == ["one", "two"]


def test_a_session_of_the_target_that_is_used_exclusively_is_waited_for() -> None:
    here, there = MemorySessionStore(), MemorySessionStore()
    source = Session("s", store=here)
    source.add_message("user", "one")
    copy_store(here, there)
    source.add_message("user", "two")
    with Session("s", store=there).exclusive(lease=0.2):
        until = there.load("s").lease["until"]
        assert copy_store(here, there).problems == []
    assert there.load("s").head == 2
    assert time.time() >= until


def test_what_is_inherited_lives_as_long_as_a_session_that_is_brought_up() -> None:
    class Expiring(MemorySessionStore):
        def __init__(self) -> None:
            super().__init__()
            self.ttl, self.kept = 10.0, dict[str, float]()

        def touch(self, log: str, until: float) -> bool:
            self.kept[log] = until
            return True

    here, there = MemorySessionStore(), Expiring()
    parent = Session("parent", store=here)
    parent.add_message("user", "one")
    child = parent.fork(session_id="child")
    copy_store(here, there)
    child.add_message("user", "two")
    there.ttl = 1000.0
    copy_store(here, there)
    header = there.load("child")
    assert header.head == 2
    assert there.kept[header.parent] == header.kept > time.time() + 900


def test_a_copy_that_cannot_begin_leaves_no_store_open(tmp_path: Path) -> None:
    url = url_of("sqlite", tmp_path / "here")
    with pytest.raises(NotInstalled):
        copy_store(url, "unheard-of://x")
    with SessionManager(url) as manager:
        kept = manager.store
    with pytest.raises(Closed):  # nobody else has it
        kept.load("s")


def test_a_session_that_the_target_does_not_take_keeps_no_other_back() -> None:
    class Picky(MemorySessionStore):
        def commit(self, session_id: str, **what: Any) -> None:
            if session_id == "odd" and what["entries"]:
                raise InvalidInput("this is too much for one commit: commit less at a time")
            super().commit(session_id, **what)

    source = SessionManager("memory://")
    for name in ("a", "odd", "b"):
        source.create_session(session_id=name).add_message("user", name)
    target = Picky()
    report = copy_store(source.store, target)
    assert report.problems == ["odd: this is too much for one commit: commit less at a time"]
    assert sorted(header.session_id for header in SessionManager(target).list()) == ["a", "b"]


def test_since_takes_what_a_query_takes() -> None:
    source = SessionManager("memory://")
    for name in ("a", "b"):
        session = source.create_session(session_id=name)
        session.add_message("user", name)
    assert copy_store(source.store, MemorySessionStore(), since=session.updated_at).sessions == 1
