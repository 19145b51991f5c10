"""What somebody altered in a store: a text, or what is kept beside it. It is named, and refused where it would be passed on."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import attrs
import pytest

from sessile import MemorySessionStore, Session, SessionManager, copy_store
from sessile.errors import CorruptStore, UnsafeFile
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile_cli.main import main
from tests.stores import DURABLE, url_of

NAMED = "was altered|not the one that its header names"
TEXTS = ("first words", "second words", "third words")


def _in_sqlite(folder: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(folder / "sessions.db")) as db:
        changed = db.execute("UPDATE sessions_entries SET body = replace(body, ?, ?) WHERE body LIKE ?", (old, new, f"%{old}%"))
        assert changed.rowcount == 1
        db.commit()


def _time_in_sqlite(folder: Path, old: str, new: str) -> None:
    with closing(sqlite3.connect(folder / "sessions.db")) as db:
        assert db.execute("UPDATE sessions_entries SET time = time + 1 WHERE body LIKE ?", (f"%{old}%",)).rowcount == 1
        db.commit()


def _in_file(folder: Path, old: str, new: str) -> None:
    (log,) = [path for path in folder.rglob("*.jsonl") if old in path.read_text()]
    log.write_text(log.read_text().replace(old, new))


def _time_in_file(folder: Path, old: str, new: str) -> None:
    (log,) = [path for path in folder.rglob("*.jsonl") if old in path.read_text()]
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(line.replace('"time":1', '"time":2') if old in line else line for line in lines))


ALTER: dict[tuple[str, str], Callable[[Path, str, str], None]] = {
    ("sqlite", "text"): _in_sqlite,
    ("sqlite", "time"): _time_in_sqlite,
    ("file", "text"): _in_file,
    ("file", "time"): _time_in_file,
}


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("what", ["text", "time"])
@pytest.mark.parametrize("kind", DURABLE)
def test_what_was_altered_is_named_and_refused(
    kind: str, what: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = url_of(kind, tmp_path)
    with SessionManager(url) as manager:
        for name in ("whole", "s"):
            manager.create_session(session_id=name).add_messages([("user", f"{said} of {name}") for said in TEXTS])
    ALTER[kind, what](tmp_path, f"{text} of s", "other words")
    with SessionManager(url) as manager:
        session = manager.get_session("s")
        assert session is not None
        found = session.verify()
        assert not found
        assert re.search(NAMED, found.problem)
        assert len(session.messages) == 3, "a plain read does not look"
        report = copy_store(manager.store, MemorySessionStore())
        assert report.sessions == 1
        (problem,) = report.problems
        assert re.match(f"s: .*({NAMED})", problem)
        session.export(tmp_path / "out.jsonl")
        with pytest.raises(UnsafeFile, match="altered"):
            SessionManager(MemorySessionStore()).import_session(tmp_path / "out.jsonl")
        for read in (lambda strict: strict.messages, lambda strict: strict.get_history(1 + TEXTS[::-1].index(text))):
            with pytest.raises(CorruptStore, match=NAMED):
                read(Session("s", store=manager.store, strict=True))
        assert len(Session("whole", store=manager.store, strict=True).messages) == 3
    assert main(["doctor", url, "--verify"]) == 1
    shown = capsys.readouterr().out
    assert "FAILED" in shown
    assert "session 's': " in shown
    assert "'whole'" not in shown


@pytest.mark.parametrize("kind", DURABLE)
@pytest.mark.parametrize("gone", [False, True])
def test_what_was_altered_of_what_a_fork_inherits_is_named_and_refused(kind: str, gone: bool, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path)
    with SessionManager(url) as manager:
        session = manager.create_session(session_id="s")
        session.add_messages([("user", said) for said in TEXTS])
        session.fork(2, "fork").add_message("user", "on")
        if gone:
            manager.delete("s")
    ALTER[kind, "text"](tmp_path, TEXTS[1], "other words")
    with SessionManager(url) as manager:
        fork = manager.get_session("fork")
        assert fork is not None
        assert not fork.verify()
        assert "fork: " in "".join(copy_store(manager.store, MemorySessionStore()).problems)
        with pytest.raises(CorruptStore):
            _ = Session("fork", store=manager.store, strict=True).messages


@pytest.mark.parametrize("kind", DURABLE)
def test_what_was_altered_of_what_a_fork_of_a_fork_inherits_is_refused(kind: str, tmp_path: Path) -> None:
    """The fork between has nothing of its own that is inherited."""
    url = url_of(kind, tmp_path)
    with SessionManager(url) as manager:
        session = manager.create_session(session_id="s")
        session.add_messages([("user", said) for said in TEXTS])
        middle = session.fork(2, "middle")
        middle.add_message("user", "not inherited")
        middle.fork(2, "fork").add_message("user", "on")
        assert len(Session("fork", store=manager.store, strict=True).messages) == 3
    ALTER[kind, "text"](tmp_path, TEXTS[1], "other words")
    with SessionManager(url) as manager, pytest.raises(CorruptStore):
        _ = Session("fork", store=manager.store, strict=True).messages


class Altering(MemorySessionStore):
    """A store in which the entry at a position says something else, and which sends the last entries along with a header."""

    position: int | None = None

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        found = super().read(log, start, stop, kind)
        return [attrs.evolve(e, body={**e.body, "content": "!"}) if e.position == self.position else e for e in found]

    def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        header = self.load(session_id)
        return header, self.read(header.log, max(0, header.head - count), header.head) if header else []


@pytest.mark.parametrize("position", [3, 4, 5])
def test_each_message_that_is_read_under_strict_is_looked_at(position: int) -> None:
    store = Altering()
    Session("s", store=store).add_messages([("user", f"{number}") for number in range(6)])
    Session("s", store=store).snapshot("here")
    assert [said.text for said in Session("s", store=store, strict=True).get_history(3)] == ["3", "4", "5"]
    store.position = position
    assert "!" in [said.text for said in Session("s", store=store).get_history(3)]
    with pytest.raises(CorruptStore, match=NAMED):
        Session("s", store=store, strict=True).get_history(3)
    store.position = None
    fork = Session("s", store=store).fork(position + 1, "fork")  # in the middle of the log
    store.position = position
    assert fork.messages[-1].text == "!"
    with pytest.raises(CorruptStore, match=f"{NAMED}|inherited"):
        Session("fork", store=store, strict=True).get_history(1)


@pytest.mark.parametrize("kind", DURABLE)
def test_a_session_that_cannot_be_read_at_all_is_named(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    url = url_of(kind, tmp_path)
    with SessionManager(url) as manager:
        for name in ("whole", "bad"):
            manager.create_session(session_id=name).add_message("user", f"first of {name}")
    if kind == "sqlite":
        with closing(sqlite3.connect(tmp_path / "sessions.db")) as db:
            db.execute("UPDATE sessions SET version = 'x' WHERE session_id = 'bad'")
            db.commit()
    else:
        (tmp_path / "sessions" / "bad" / "state.json").write_text("{")
    with SessionManager(url) as manager:
        report = copy_store(manager.store, MemorySessionStore())
        assert report.sessions == 1
        assert [problem.partition(":")[0] for problem in report.problems] == ["bad"]
    assert main(["doctor", url, "--verify"]) == 1
    assert "session 'bad': " in capsys.readouterr().out
    with SessionManager(url) as manager:
        manager.delete("bad")
    assert main(["doctor", url, "--verify"]) == 0
    assert "1 are as they were written" in capsys.readouterr().out
