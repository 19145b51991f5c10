"""The command line with odd input: what is shown, what is refused, and how a program is told."""

from __future__ import annotations

import ast
import functools
import json
import os
import re
import stat
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sessile import MemorySessionStore, Session, SessionManager
from sessile_cli.failures import WORDS, in_words
from sessile_cli.main import main
from tests.test_cli import COMMAND, json_of, sessile

Command = Callable[..., tuple[int, str, str]]
EVIL = "\x1b[2J\x9b31m[/x] [bold] :smile:\nfake\rrow\u202e日本"
CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'chat.db'}"


@pytest.fixture
def command(url: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run a command in this process, on the test's store. Returns (status, output, errors)."""
    monkeypatch.setenv("SESSILE_STORE", url)

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([*args])
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def said(url: str) -> Session:
    """A session of four messages with labels, one of which looks like a number."""
    session = Session("s", store=url, user_id="ann")
    session.add_messages([("user", "one"), ("assistant", "1")])
    session.snapshot("3")
    session.add_messages([("user", "two"), ("assistant", "2")])
    session.snapshot("end")
    return session


def count_in(file: Path) -> int:
    return Session.load(file, store=MemorySessionStore()).message_count


# -- what is shown


@pytest.mark.parametrize(
    "args",
    [
        ["session", "list"],
        ["session", "show", "s"],
        ["session", "log", "s"],
        ["session", "log", "s", "--graph"],
        ["session", "tree", "s"],
        ["session", "diff", "s", "0"],
    ],
)
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_no_text_drives_the_terminal(command: Command, url: str, args: list[str], form: list[str]) -> None:
    with SessionManager(url).create_session("ann", session_id="s", title=EVIL) as session:
        session.add_messages([("user", EVIL), ("assistant", EVIL)])
        session.set_state(f"k{EVIL}", EVIL)
        session.snapshot(EVIL)
    status, output, _ = command(*args, *form)
    assert status == 0
    assert not CONTROL.search(output)
    assert "\\u001b[2J" in output or form  # a diff's JSON has no title
    assert not any(line.startswith("fake") for line in output.splitlines())
    if form and "diff" not in args:
        found = json.loads(output)
        assert (found[0] if isinstance(found, list) else found)["title"] == EVIL


def test_a_list_has_a_line_a_session_however_long_or_wide_its_title(command: Command, url: str) -> None:
    manager = SessionManager(url)
    for number, title in enumerate(("日本語" * 10, "long " * 10_000, "a\nb", "")):
        manager.create_session("ann", session_id=f"s{number}", title=title)
    _, output, errors = command("session", "list", "--limit", "3")
    assert len(output.splitlines()) == 4
    assert "there are more" in errors
    assert json.loads(command("session", "list", "--limit", "0", "--json")[1]) == []


def test_times_are_iso_8601_for_programs(command: Command, said: Session) -> None:
    def times(value: Any) -> list[Any]:
        if isinstance(value, dict):
            own = [item for key, item in value.items() if key in ("created_at", "updated_at", "timestamp")]
            return own + [time for item in value.values() for time in times(item)]
        return [time for item in value for time in times(item)] if isinstance(value, list) else []

    said.fork(session_id="f").add_message("user", "three")
    for args in (["list"], ["show", "s"], ["tree", "s"], ["log", "s"], ["log", "s", "--graph"], ["diff", "s", "f"]):
        found = times(json.loads(command("session", *args, "--json")[1]))
        assert found
        assert all(datetime.fromisoformat(time).tzinfo for time in found)


def test_the_log_for_programs_has_turns_and_a_limit(command: Command, said: Session) -> None:
    shown = json.loads(command("session", "log", "s", "--json")[1])
    turns = [[(m["number"], m["content"], m["labels"]) for m in turn["messages"]] for turn in shown["turns"]]
    assert turns == [[(1, "one", []), (2, "1", ["3"])], [(3, "two", []), (4, "2", ["end"])]]
    for limit, count in ((0, 0), (1, 1), (2, 2), (9, 2)):
        assert len(json.loads(command("session", "log", "s", "--json", "--limit", str(limit))[1])["turns"]) == count
        assert command("session", "log", "s", "--limit", str(limit))[1].count("* user") == count


def test_the_log_has_the_labels_that_people_gave(command: Command, said: Session) -> None:
    said.snapshot("before the discount")
    said.undo()
    said.redo()
    assert re.findall(r"\[(.*)\]", command("session", "log", "s")[1]) == ["3", "end", "before the discount"]


def test_forks_that_lie_deep_are_drawn(command: Command, url: str) -> None:
    session = Session("f0", store=url)
    session.add_message("user", "x")
    for depth in range(1, 200):  # each claims the logs of all above it
        session = session.fork(session_id=f"f{depth}")
    assert len(command("session", "tree", "f0")[1].splitlines()) == 200


# -- what is refused


@pytest.mark.parametrize("limit", ["-1", "x", "1.5", "9" * 20])
@pytest.mark.parametrize("args", [["list"], ["show", "s"], ["log", "s"]])
def test_a_limit_is_a_number_from_0(command: Command, said: Session, args: list[str], limit: str) -> None:
    status, output, errors = command("session", *args, "--limit", limit)
    assert (status, output) == (2, "")
    assert "--limit" in errors


def test_a_point_that_is_a_label_and_a_number_is_asked_for(command: Command, said: Session) -> None:
    status, _, errors = command("session", "revert", "s", "3")
    assert status == 2
    assert "label:3 or count:3" in errors
    assert Session("s", store=said.store).message_count == 4
    assert json.loads(command("session", "fork", "s", "--at", "count:3", "--json")[1])["messages"] == 3
    assert json.loads(command("session", "revert", "s", "label:3", "--json")[1])["messages"] == 2
    assert json.loads(command("session", "diff", "s", "label:end", "count:1", "--json")[1])["shared"] == 1
    for odd in ("²", "--2", "9" * 5000, "1e3"):
        assert command("session", "diff", "s", "--", odd)[0] in (2, 4)


def test_nothing_is_deleted_unasked(url: str, said: Session) -> None:
    refused = sessile("session", "delete", "s", "--json", "--store", url, code=130)
    assert json.loads(refused.stdout)["error"]["type"] == "Aborted"
    sessile("session", "delete", "s", "--json", "--store", url, said="n\n", code=130)
    assert Session("s", store=url).message_count == 4
    assert json.loads(sessile("session", "delete", "s", "--json", "--store", url, said="y\n").stdout) == {"deleted": "s"}
    assert json_of("session", "list", "--store", url) == []


def test_errors_speak_the_shells_language(command: Command, said: Session, tmp_path: Path) -> None:
    (tmp_path / "pickle").write_bytes(b"\x80\x04.")
    file = str(tmp_path / "s.jsonl")
    command("session", "export", "s", file)
    for args, words in (
        (["session", "start", "s", "--user", "ann"], "`sessile session resume s`"),
        (["session", "import", file], "--session"),
        (["session", "import", str(tmp_path / "pickle")], "`sessile session export`"),
        (["session", "fork", "s", "--as", "s"], "--as"),
        (["session", "merge", "s", "s"], "session 's' cannot be merged"),
        (["session", "revert", "s", "nowhere"], "`sessile session log`"),
        (["session", "revert", "s", "99"], "a snapshot's label or id, or a number"),
        (["session", "list", "--store", "redis://:p@ss/w@host"], "such as %40 for @"),
    ):
        errors = "".join(command(*args)[1:])
        assert words in errors, (args, errors)
        assert not re.search(r"\w\(|\w=['\w]|session_id|\bsession\.", errors), errors


def test_every_form_of_advice_in_python_has_words_of_the_shell() -> None:
    assert in_words("open it with Session('a b', user_id='ann')") == "open it with `sessile session resume 'a b' --user ann`"
    assert (
        in_words("use session.revert(point) or session.save(path)") == "use `sessile session revert` or `sessile session export`"
    )
    assert in_words("pass user_id='ann' and model='openai:NAME'") == "--user ann and --model openai:NAME"


# -- files


def test_an_existing_file_is_replaced_only_when_asked(command: Command, said: Session, tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    for name in (file, tmp_path / "link"):
        if name != file:
            name.symlink_to(file)
        status, _, errors = command("session", "export", "s", str(name))
        assert (status, file.read_text()) == (2, "mine")
        assert "--force" in errors
    assert command("session", "export", "s", str(tmp_path / "link"), "--force")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert count_in(file) == 4


def test_standard_output_and_input_are_files(url: str, said: Session, tmp_path: Path) -> None:
    for name in ("-", "/dev/stdout"):
        done = sessile("session", "export", "s", name, "--store", url)
        lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
        assert "sha256" in json.loads(lines[-1])
    elsewhere = f"file://{tmp_path / 'elsewhere'}"
    text = sessile("session", "export", "s", "-", "--store", url).stdout
    for name in ("-", "/dev/stdin"):
        done = sessile("session", "import", name, "--session", f"in{name[-1]}", "--store", elsewhere, said=text)
        assert "with 4 messages" in done.stdout
    refused = sessile("session", "import", "-", "--store", elsewhere, said=text[:-9], code=3)
    assert "standard input is not a saved session, or was cut" in refused.stderr


def test_a_reader_that_goes_away_is_no_failure_to_tell(url: str, tmp_path: Path) -> None:
    with Session("long", store=url) as session:
        session.add_messages([("user", "x" * 500)] * 2000)
    for args in (["show", "long"], ["export", "long", "-"], ["log", "long", "--limit", "2000", "--json"]):
        process = subprocess.Popen(
            [*COMMAND, "session", *args, "--store", url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == ""
        process.stderr.close()
        process.wait(timeout=20)


def test_what_is_no_regular_file_is_written_to_and_never_replaced(said: Session, tmp_path: Path) -> None:
    fifo, loaded = tmp_path / "fifo", tmp_path / "copy"
    os.mkfifo(fifo)
    reader = threading.Thread(target=lambda: loaded.write_bytes(fifo.read_bytes()))
    reader.start()
    said.export(fifo)
    reader.join(20)
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    assert count_in(loaded) == 4
    assert said.save(os.devnull) == Path(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)
    descriptor = os.open(tmp_path / "gone", os.O_RDWR | os.O_CREAT)
    (tmp_path / "gone").unlink()
    said.save(f"/dev/fd/{descriptor}")
    assert os.pread(descriptor, 2, 0) == b'{"'
    os.close(descriptor)


def test_saving_follows_links_and_refuses_folders(said: Session, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/target")  # which is not there yet
    (tmp_path / "link to it").symlink_to("link")
    for path in (tmp_path / "link to it", str(tmp_path / "link")):
        said.save(path)
        assert (tmp_path / "link").is_symlink()
        assert count_in(tmp_path / "folder" / "target") == 4
    said.save(tmp_path / ("long" * 60))  # as long as a file system allows
    before = sorted(tmp_path.rglob("*"))
    for bad, why in ((tmp_path, "is a folder"), ("", "no path"), ("a\0b", "no path"), (5, "path is 5"), (None, "path is None")):
        for write in (said.save, said.export):
            with pytest.raises(ValueError, match=why):
                write(bad)
    assert sorted(tmp_path.rglob("*")) == before


def test_standard_streams_may_be_closed(url: str, said: Session) -> None:
    for redirection, args, status in (
        ("<&-", ["chat", "--session", "s", "--model", "echo"], 0),
        ("<&-", ["chat", "--session", "s", "--model", "echo", "--json"], 0),
        ("<&-", ["session", "delete", "s"], 130),
        (">&-", ["session", "list"], 0),
        (">&-", ["session", "list", "--json"], 0),
        (">&- 2>&-", ["session", "show", "nope", "--json"], 4),
        (">/dev/full", ["session", "list"], 3),
    ):
        command = ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *args]
        done = subprocess.run([*command, "--store", url], capture_output=True, text=True, check=False)
        assert done.returncode == status, (args, done.stderr)
        assert "Traceback" not in done.stderr
    assert said.message_count == 4


@functools.cache
def texts_of_errors() -> list[str]:
    """What the core and the stores raise, as their code has it: 'x' where a value is put in."""
    root = Path(__file__).parent.parent
    files = [*root.glob("core/src/sessile/**/*.py"), *root.glob("plugins/*/src/**/*.py")]
    texts = []
    for file in files:
        if "sessile_cli" not in file.parts and "testing" not in file.parts:
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.JoinedStr):
                    texts.append("".join(str(part.value) if isinstance(part, ast.Constant) else "'x'" for part in node.values))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return texts


@pytest.mark.parametrize("pattern", [pattern for pattern, _ in WORDS])
def test_what_is_put_into_other_words_is_said_somewhere(pattern: str) -> None:
    texts = [*texts_of_errors(), repr(Session("x", store=MemorySessionStore()))]  # an error of `merge` begins with that
    assert any(re.search(pattern, text) for text in texts), "an error was reworded, and its words for a shell were not"
