"""The command line, as a person uses it: the installed command, in processes of its own."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, Session, SessionManager, SQLiteSessionStore
from sessile.log.header import Header
from sessile.log.stamping import Change, stamp
from tests.stores import url_of

COMMAND = [sys.executable, "-c", "from sessile_cli.main import entry; entry()"]


def sessile(*args: str, said: str = "", code: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([*COMMAND, *args], input=said, capture_output=True, text=True, env={**os.environ, **env}, check=False)
    assert done.returncode == code, (done.stdout, done.stderr)
    return done


def json_of(*args: str, code: int = 0) -> Any:
    return json.loads(sessile(*args, "--json", code=code).stdout)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'chat.db'}"


# -- the main job


def test_the_second_process_knows_what_the_first_was_told() -> None:
    """On the defaults: the file store in the home folder, the embedded model really generating."""
    sessile("chat", "--session", "demo", said="My name is Alice and I love pizza\n/quit\n")
    answer = sessile("chat", "--session", "demo", said="What's my name?\n/quit\n").stdout
    assert "Alice" in answer
    assert "alice" in Session("demo").agent.chat("Who am I?").lower()
    assert Session("demo").message_count == 6


def test_commands_in_a_chat(url: str, tmp_path: Path) -> None:
    said = f"hello there\n/help\n/history 1\n/save {tmp_path / 'x.jsonl'}\n/nonsense\n\n/quit\nnever said\n"
    done = sessile("chat", "--session", "s", "--store", url, "--user", "ann", "--model", "echo", said=said, code=2)
    assert "/history [N]" in done.stdout
    assert "assistant: hello there" in done.stdout
    assert f"saved to {tmp_path / 'x.jsonl'}" in done.stdout
    assert "unknown command '/nonsense'" in done.stderr
    assert "never said" not in done.stdout
    assert Session.load(tmp_path / "x.jsonl", store=url_of("memory", tmp_path)).message_count == 2
    assert Session("s", store=url).user_id == "ann"


def test_a_chat_for_programs(url: str) -> None:
    done = sessile("chat", "--session", "s", "--store", url, "--model", "echo", "--json", said="one\ntwo\n")
    assert [json.loads(line)["content"] for line in done.stdout.splitlines()] == ["one", "two"]
    again = sessile("session", "resume", "s", "--store", url, "--model", "echo", "--json", said="three\n")
    assert json.loads(again.stdout)["role"] == "assistant"
    assert Session("s", store=url).message_count == 6


# -- looking after sessions


def test_list_show_start_resume_delete(url: str) -> None:
    assert json_of("session", "list", "--store", url) == []
    assert "no sessions" in sessile("session", "list", "--store", url).stdout
    assert json_of("session", "start", "one", "--user", "ann", "--store", url)["status"] == "created"
    sessile("session", "start", "two", "--store", url, "--model", "echo", said="hi\n")
    sessile("session", "resume", "one", "--store", url, "--model", "echo", said="hello [bold]you[/bold]\n")
    assert [s["session_id"] for s in json_of("session", "list", "--store", url)] == ["one", "two"]
    assert [s["session_id"] for s in json_of("session", "list", "--store", url, "--user", "ann")] == ["one"]
    assert "one" in sessile("session", "list", "--store", url).stdout
    shown = json_of("session", "show", "one", "--store", url)
    assert (shown["user_id"], [m["content"] for m in shown["messages"]]) == ("ann", ["hello [bold]you[/bold]"] * 2)
    assert "hello [bold]you[/bold]" in sessile("session", "show", "one", "--store", url).stdout
    sessile("session", "delete", "one", "--store", url, said="n\n", code=130)
    sessile("session", "delete", "one", "--store", url, said="y\n")
    assert json_of("session", "delete", "two", "--yes", "--store", url) == {"deleted": "two"}
    assert json_of("session", "list", "--store", url) == []


def test_what_a_conversation_took_is_shown(url: str) -> None:
    session = Session("took", store=url)
    session.add_message("user", "hi")
    assert "tokens:" not in sessile("session", "show", "took", "--store", url).stdout
    session.add_message(
        "assistant", "hello", usage={"input_tokens": 1204, "output_tokens": 93, "cached_tokens": 800, "model": "m"}
    )
    session.add_message("assistant", "of nobody")
    shown = sessile("session", "show", "took", "--store", url).stdout
    assert "tokens:        1,204 in (800 cached), 93 out; 1 of 2 replies did not say\n" in shown
    usage = json_of("session", "show", "took", "--store", url)["usage"]
    assert (usage["input_tokens"], usage["by_model"]["m"]["output_tokens"]) == (1204, 93)


def test_delete_takes_the_session_that_was_shown(url: str) -> None:
    manager = SessionManager(url)
    for again in (False, True):
        manager.create_session("ann", session_id="s").add_message("user", "shown")
        command = [*COMMAND, "session", "delete", "s", "--store", url]
        asking = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert asking.stderr
        question = asking.stderr.read(len("Delete session 's' with 1 messages?"))
        assert question == "Delete session 's' with 1 messages?"
        manager.delete("s")
        if again:
            manager.create_session("ann", session_id="s").add_message("user", "another")
        out, err = asking.communicate("y\n")
        assert (asking.returncode, out) == (4, "")
        assert "is not there any more: nothing was deleted" in err
        assert manager.exists("s") == again


def test_a_user_may_delete_a_broken_session_of_theirs(url: str) -> None:
    manager = SessionManager(url)
    manager.create_session("ann", session_id="s")
    with sqlite3.connect(manager.store.path) as db:
        db.execute("UPDATE sessions_details SET body = '{'")
    assert "'s'" in sessile("session", "show", "s", "--store", url, code=6).stderr
    assert "does not belong to user 'bob'" in sessile(*"session delete s --user bob --yes".split(), "--store", url, code=5).stderr
    assert json_of(*"session delete s --user ann --yes".split(), "--store", url) == {"deleted": "s"}
    assert "there is no session 's'" in sessile("session", "delete", "s", "--yes", "--store", url, code=4).stderr


def test_a_log_shows_the_last_turns_by_their_numbers(url: str) -> None:
    with Session("s", store=url, agent=Agent(model="echo")) as session:
        session.snapshot("begin")
        session.add_messages([("user", "long")] + [("assistant", str(number)) for number in range(30)])
        for number in range(3):
            session.chat(f"turn {number}")
        session.snapshot("end")
        session.add_messages([("user", "last"), ("assistant", "reply")])
    everything = json_of("session", "log", "s", "--store", url)
    assert [len(turn["messages"]) for turn in everything["turns"]] == [31, 2, 2, 2, 2]
    numbers = [said["number"] for turn in everything["turns"] for said in turn["messages"]]
    assert (numbers, everything["labels"]) == ([*range(1, 40)], ["begin"])
    assert everything["turns"][3]["messages"][1]["labels"] == ["end"]
    for limit, *how in ((0,), (2,), (4, "--graph"), (5,)):
        some = json_of("session", "log", "s", "--store", url, "--limit", str(limit), *how)
        assert (some["turns"], some["labels"]) == (everything["turns"][5 - limit :], ["begin"])


def test_an_output_that_takes_nothing(url: str) -> None:
    Session("s", store=url).add_message("user", "x")
    for args in (("list",), ("list", "--json"), ("show", "s"), ("show", "nope", "--json")):
        with open("/dev/full", "w") as full:
            command = [*COMMAND, "session", *args, "--store", url]
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == (4 if "nope" in args else 3), done.stderr
        assert done.stderr.splitlines() == [done.stderr.strip()]
        assert ("there is no session" if "nope" in args else "No space left on device") in done.stderr


def test_export_and_import(url: str, tmp_path: Path) -> None:
    with Session("s", store=url, user_id="ann") as session:
        session.add_messages([("user", "one"), ("assistant", "two")])
        session.set_state("k", 1)
    file = str(tmp_path / "s.jsonl")
    assert json_of("session", "export", "s", file, "--store", url)["messages"] == 2
    elsewhere = f"file://{tmp_path / 'elsewhere'}"
    assert "imported s with 2 messages" in sessile("session", "import", file, "--store", elsewhere).stdout
    again = Session("s", store=elsewhere)
    assert ([m.content for m in again.messages], again.user_id, again.state) == (["one", "two"], "ann", {"k": 1})
    assert "exists already" in sessile("session", "import", file, "--store", elsewhere, code=5).stderr


# -- plugins and health


def test_plugins_are_listed_and_blocked(tmp_path: Path) -> None:
    names = {info["name"]: info["status"] for info in json_of("plugins")}
    assert {"builtin", "cli", "file", "sqlite", "smollm", "openai"} <= set(names)
    assert set(names.values()) == {"active"}
    blocked = sessile("-p", "no:sqlite", "plugins", "--json").stdout
    assert {i["name"]: i["status"] for i in json.loads(blocked)}["sqlite"] == "blocked"
    by_environment = sessile("plugins", "--json", SESSILE_PLUGINS="no:file").stdout
    assert {i["name"]: i["status"] for i in json.loads(by_environment)}["file"] == "blocked"
    assert "sessile-sqlite" in sessile("plugins").stdout


def test_a_plugin_adds_a_command(tmp_path: Path) -> None:
    plugin = tmp_path / "greet.py"
    plugin.write_text(
        "import click\nfrom sessile import hookimpl\n\n@hookimpl\ndef register_commands(cli):\n"
        "    @cli.command()\n    def greet():\n        'Say hello.'\n        click.echo('hello')\n"
    )
    assert sessile("-p", str(plugin), "greet").stdout == "hello\n"
    assert "Say hello." in sessile("-p", str(plugin), "--help").stdout


def test_doctor_says_what_works_and_what_to_do(url: str, tmp_path: Path) -> None:
    assert all(check["ok"] for check in json_of("doctor", "--store", url))
    assert not (tmp_path / "chat.db").exists()
    (tmp_path / "chat.db").write_bytes(b"this is no database" * 100)
    checks = {c["name"]: c for c in json_of("doctor", url, code=1)}
    assert "is not a SQLite database" in checks["store"]["result"]
    report = sessile("-p", "no:smollm", "doctor", "--store", "memory://", code=1).stdout
    assert "pip install sessile-smollm" in " ".join(report.split())


def test_install_and_uninstall_hand_over_to_the_installer() -> None:
    assert "failed with status" in sessile("install", "--", "not a requirement!", code=1).stderr
    sessile("uninstall", "sessile-nothing", said="n\n", code=130)
    sessile("install", "pluggy")  # is there already: nothing changes


# -- failures


FAILURES = [
    (["session", "show", "nope"], 4, "there is no session 'nope'"),
    (["session", "import", "nope"], 4, "No such file or directory: 'nope'"),
    (["session", "resume", "../x"], 2, "'..' as a part of a path"),
    (["session", "list", "--store", "gopher://x"], 4, "no store named 'gopher'"),
    (["session", "list", "--store", "x.db"], 2, "is no URL"),
    (["session", "list", "--user", os.fsdecode(b"\xff")], 2, "has the control character"),
    (["session", "list", "--store", "redis://localhost:1"], 6, "localhost:1"),
    (["chat", "--model", "oracle"], 4, "no model named 'oracle'"),
    (["-p", "no:smollm", "chat"], 4, "no language model is installed"),
    (["-p", "none.py", "plugins"], 4, "there is no plugin file"),
]


@pytest.mark.parametrize(("args", "status", "why"), FAILURES)
def test_every_failure_is_one_clear_line(args: list[str], status: int, why: str) -> None:
    done = sessile(*args, code=status)
    assert why in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" in sessile("--debug", *args, code=1).stderr


@pytest.mark.parametrize(("args", "status", "why"), [*FAILURES, (["session", "list", "--limit", "x"], 2, "not a valid")])
def test_every_failure_is_one_json_object_for_programs(args: list[str], status: int, why: str) -> None:
    done = sessile(*args, "--json", code=status)
    error = json.loads(done.stdout)["error"]
    assert why in error["message"]
    assert error["status"] == status
    assert done.stderr == ""


def test_wrong_usage_ends_with_status_2() -> None:
    assert "No such command" in sessile("sing", code=2).stderr
    assert "No such option" in sessile("chat", "--loud", code=2).stderr


def test_shell_completion() -> None:
    done = subprocess.run(
        [*COMMAND], env={**os.environ, "_SESSILE_COMPLETE": "bash_complete", "COMP_WORDS": "sessile se", "COMP_CWORD": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "session" in done.stdout


# -- a session as a graph


def test_exploring_a_session(url: str) -> None:
    with Session("main", store=url) as session:
        session.add_messages([("user", "one"), ("assistant", "1"), ("user", "two"), ("assistant", "2")])
    there = ("--store", url)
    assert json_of("session", "snapshot", "main", "--label", "safe", *there)["messages"] == 4
    assert json_of("session", "fork", "main", "--at", "2", "--as", "side", "--title", "Side", *there)["messages"] == 2
    sessile("session", "resume", "side", "--model", "echo", *there, said="other\n")
    assert json_of("session", "undo", "main", *there)["messages"] == 2
    assert json_of("session", "redo", "main", *there)["messages"] == 4
    back = json_of("session", "revert", "main", "-2", *there)
    assert back["messages"] == 2
    assert "4 messages count now" in sessile("session", "revert", "main", back["back"], *there).stdout
    assert json_of("session", "revert", "main", "safe", *there)["messages"] == 4
    assert json_of("session", "merge", "main", "side", "--as", "both", *there)["messages"] == 6
    assert json_of("session", "verify", "both", *there)["ok"]
    diff = sessile("session", "diff", "main", "side", *there).stdout
    assert diff.splitlines() == ["  2 messages in both", "- user: other", "- assistant: other", "+ user: two", "+ assistant: 2"]
    tree = sessile("session", "tree", "side", *there).stdout
    assert tree.splitlines() == ["main (4 messages)", "├─ side “Side” (4 messages)", "└─ both (6 messages)"]
    drawn = sessile("session", "log", "main", "--graph", *there).stdout
    assert drawn.splitlines()[:8] == [
        "main (4 messages)",
        "│ * user: one",
        "│   assistant: 1",
        "│ * user: two",
        "│   assistant: 2",
        "│   [safe]",
        "├─ side “Side” (4 messages)",
        "│    * user: other",
    ]
    assert sessile("session", "log", "side", *there).stdout.splitlines()[1] == "  * user: one"
    for point in ("", "label:"):
        assert "'' is no point" in sessile("session", "revert", "main", point, *there, code=2).stderr
    assert "has no snapshot 'nowhere'" in sessile("session", "revert", "main", "nowhere", *there, code=2).stderr
    before = json_of("session", "show", "side", *there)["messages"]
    assert json_of("session", "delete", "main", "--yes", *there) == {"deleted": "main"}
    assert json_of("session", "show", "side", *there)["messages"] == before
    assert json_of("session", "delete", "side", "--cascade", "--yes", *there) == {"deleted": "side"}


def test_a_limit_is_one_that_a_store_takes() -> None:
    assert json_of("session", "list", "--store", "memory://", "--limit", "10000") == []
    assert "0<=x<=10000" in sessile("session", "list", "--store", "memory://", "--limit", "10001", code=2).stderr


def test_what_is_not_there_is_neither_copied_nor_blocked(tmp_path: Path) -> None:
    for kind in ("sqlite", "file"):
        done = sessile("copy", f"{kind}://{tmp_path}/typo", f"{kind}://{tmp_path}/target", code=4)
        assert f"{tmp_path}/typo" in done.stderr
    assert not [*tmp_path.iterdir()]
    assert "choose one of builtin" in sessile("-p", "no:nosuch", "plugins", code=2).stderr
    assert "choose one of builtin" in sessile("plugins", code=2, SESSILE_PLUGINS="no:nosuch").stderr


def test_a_list_says_how_long_ago_a_session_changed(tmp_path: Path) -> None:
    url, now = f"sqlite:///{tmp_path}/chat.db", time.time()
    ages = {"just now": 5, "1 minute ago": 90, "59 minutes ago": 3590, "2 hours ago": 7300, "7 days ago": 7.5 * 86_400}
    with closing(SQLiteSessionStore(tmp_path / "chat.db")) as store:
        for number, seconds in enumerate([*ages.values(), 30 * 86_400, -3600]):
            header = Header(session_id=f"s{number}", log=f"log.s{number}")
            entries, changes = stamp(header, Change(), now - seconds)
            store.commit(header.session_id, expected=0, entries=entries, changes=changes)
    shown = sessile("session", "list", "--store", url).stdout
    for number, words in enumerate(ages):
        assert re.search(rf"^s{number} .* {words}", shown, re.MULTILINE), shown
    assert time.strftime("%Y-%m-%d", time.gmtime(now - 30 * 86_400)) in shown
    assert re.search(r"^s6 .* just now", shown, re.MULTILINE), "a clock that is behind"


def test_what_was_said_is_searched_for(url: str) -> None:
    with SessionManager(url) as manager:
        for user in ("ann", "bob"):
            manager.create_session(user, session_id=f"of-{user}").add_messages(
                [("user", f"My parcel, says {user}"), ("user", "x")]
            )
    shown = sessile("search", '"my parc"*', "says", "--store", url).stdout
    assert "of-ann" in shown
    assert "**My parcel**, **says** bob" in shown
    (hit,) = json_of("search", "parcel", "user:bob", "--store", url)
    assert (hit["session_id"], hit["snippet"], hit["marks"]) == ("of-bob", "My **parcel**, says bob", [[3, 9]])
    assert hit["message"]["content"] == "My parcel, says bob"
    assert len(json_of("search", "parcel", "--limit", "1", "--store", url)) == 1
    assert json_of("search", "parcel", "--user", "ann", "--store", url)[0]["session_id"] == "of-ann"
    assert sessile("search", "nothing", "--store", url).stdout == "nothing found\n"
    assert "after:soon is no date" in sessile("search", "x", "after:soon", "--store", url, code=2).stderr
