"""What somebody altered in a store: a text, or what is kept beside it. It is named, and refused where it would be passed on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from sessile import MemorySessionStore, Session, SessionManager, copy_store
from sessile.errors import CorruptStore, UnsafeFile
from sessile_cli.main import main
from tests.stores import DURABLE, url_of

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
        assert "was altered" in found.problem or "not the one that its header names" in found.problem
        assert len(session.messages) == 3, "a plain read does not look"
        report = copy_store(manager.store, MemorySessionStore())
        assert report.sessions == 1
        assert [problem.startswith("s: ") and "altered" in problem for problem in report.problems] == [True]
        session.export(tmp_path / "out.jsonl")
        with pytest.raises(UnsafeFile, match="altered"):
            SessionManager(MemorySessionStore()).import_session(tmp_path / "out.jsonl")
        for read in (lambda strict: strict.messages, lambda strict: strict.get_history(1 + TEXTS[::-1].index(text))):
            with pytest.raises(CorruptStore, match="altered"):
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
