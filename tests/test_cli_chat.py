"""`sessile chat` in a real terminal and in pipes: odd lines, failing models, signals, and a terminal that goes away."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from sessile import MemorySessionStore, Session
from tests.test_cli import COMMAND

MODELS = """
import time
from sessile import hookimpl

class Slow:
    def generate(self, request):
        for number in range(600):
            request.emit(f"{number} ")
            time.sleep(0.05)
        return "done"

class Evil:
    def generate(self, request):
        request.emit("a\\x1b")
        request.emit("[2Jb\\r\\x9bc")
        return "z"

class Formatted:
    def generate(self, request):
        for piece in ("# The he", "ading\\n\\nSome **bo", "ld** words\\x1b[2J.\\n\\n- one\\n", "- two\\n\\nThe end"):
            request.emit(piece)
        while "wait" in request.messages[-1].text:
            time.sleep(0.05)
            request.emit(" ")
        return "# The heading\\n\\nSome **bold** words\\x1b[2J.\\n\\n- one\\n- two\\n\\nThe end"

class Odd:
    def generate(self, request):
        text = "```\\na\\u2028b\\x0c\\n```\\n\\nA **bold** [link][1].\\r\\n\\r\\n[1]: http://h/x\\n\\nVec<String>\\n\\n<p>block</p>\\n\\n**end**\\r"
        for letter in text:
            request.emit(letter)
        return text

class Failing:
    def generate(self, request):
        if request.emit:
            request.emit("partly")
        raise RuntimeError("no more \\x1b[2J")

@hookimpl
def register(registry):
    for model in (Slow, Evil, Failing, Formatted, Odd):
        registry.add("model", model.__name__.lower(), f"sessile_local_models:{model.__name__}")

@hookimpl(optionalhook=True)
def session_title(message):
    return "About\\nships" if "ships" in message.text else None
"""


@pytest.fixture(autouse=True)
def _a_terminal_that_shows_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'chat.db'}"


@pytest.fixture
def chat(tmp_path: Path, url: str) -> list[str]:
    """The command; a model's name goes behind it."""
    plugin = tmp_path / "models.py"
    plugin.write_text(MODELS)
    return [*COMMAND, "-p", str(plugin), "chat", "--session", "s", "--store", url, "--model"]


class Terminal:
    """A process in a terminal of its own, whose other end is here."""

    def __init__(self, command: list[str]) -> None:
        self.process, self.end = pty.fork()
        if not self.process:
            for number in (signal.SIGINT, signal.SIGHUP):  # in the background, or under nohup, they are ignored
                signal.signal(number, signal.SIG_DFL)
            os.execv(command[0], command)
        self.until("> ")

    def until(self, text: str) -> str:
        """What is shown up to and including a text."""
        seen, give_up = "", time.monotonic() + 20
        while text not in seen:
            assert time.monotonic() < give_up, seen
            if select.select([self.end], [], [], 0.2)[0]:
                seen += os.read(self.end, 4096).decode(errors="replace")
        return seen

    def type(self, line: str | bytes, until: str = "\n> ") -> str:
        """Type a line. Returns what is shown up to and including a text, by default the next prompt."""
        os.write(self.end, (line.encode() if isinstance(line, str) else line) + b"\n")
        return self.until(until)

    def status(self) -> int:
        """Wait for the process's end."""
        give_up = time.monotonic() + 20
        while not (found := os.waitpid(self.process, os.WNOHANG))[0]:
            if time.monotonic() > give_up:
                os.kill(self.process, signal.SIGKILL)
            time.sleep(0.02)
        return os.waitstatus_to_exitcode(found[1])

    def close(self) -> None:
        """Hang up."""
        os.close(self.end)


# -- what was shown is kept


def test_ctrl_c_keeps_what_had_arrived(chat: list[str], url: str) -> None:
    terminal = Terminal([*chat, "slow"])
    terminal.type("count", "2 ")
    os.kill(terminal.process, signal.SIGINT)
    terminal.until("[interrupted]")
    terminal.type("/quit", "")
    assert terminal.status() == 0
    terminal.close()
    assert_interrupted(url)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_keeps_what_was_shown_and_ends_the_chat(chat: list[str], url: str, number: int) -> None:
    terminal = Terminal([*chat, "slow"])
    terminal.type("count", "2 ")
    os.kill(terminal.process, number)
    assert terminal.status() == 128 + number
    terminal.close()
    assert_interrupted(url)


def test_a_terminal_that_goes_away_keeps_what_was_shown(chat: list[str], url: str) -> None:
    terminal = Terminal([*chat, "slow"])
    terminal.type("count", "2 ")
    terminal.close()
    assert terminal.status() != 0
    assert_interrupted(url)


def test_a_chat_that_waits_ends_with_its_terminal_or_by_a_signal(chat: list[str], url: str) -> None:
    waiting = Terminal([*chat, "echo"])
    os.kill(waiting.process, signal.SIGTERM)
    assert waiting.status() == 128 + signal.SIGTERM
    waiting.close()
    left = Terminal([*chat, "echo"])
    left.close()
    left.status()


def test_under_nohup_a_hangup_ends_nothing(chat: list[str], url: str) -> None:
    process = subprocess.Popen(
        [*chat, "echo", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    for text in ("one", "two"):
        process.stdin.write(f"{text}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["content"] == text
        process.send_signal(signal.SIGHUP)
    process.communicate(timeout=20)
    assert process.returncode == 0


def assert_interrupted(url: str) -> None:
    _, answer = Session("s", store=url).messages
    assert answer.content.startswith("0 1 2 ")
    assert answer.metadata == {"interrupted": True}


# -- lines


def test_odd_lines_in_a_terminal(chat: list[str], url: str, tmp_path: Path) -> None:
    terminal = Terminal([*chat, "echo"])
    file = tmp_path / "said.jsonl"
    for line, shown in (
        ("/save /dev/null/x/y", "was not saved: Not a directory"),
        (f"/save {tmp_path}", "is a folder"),
        ("/save", "/save takes the name of a file"),
        ("/history x", "takes a number of messages, not 'x'"),
        ("/history -1", "takes a number of messages"),
        ("/history ²", "takes a number of messages"),
        ("/usr is full", "unknown command '/usr': /help lists the commands; type //usr is full to send it"),
        ("//usr is full", "/usr is full"),
        (b"caf\xe9", "caf"),  # the editor of the line takes no half of a character: what it shows is what is said
        ("/history 1", "assistant: caf"),
        (f"/save {file}", "saved to"),
        (f"/save {file}", f"/save --force {file}"),
        ("more", "more"),
        (f"/save --force {file}", "saved to"),
    ):
        assert shown in " ".join(terminal.type(line).split())
    terminal.type("/quit", "")
    assert terminal.status() == 0
    terminal.close()
    assert [m.content for m in Session("s", store=url).messages] == ["/usr is full"] * 2 + ["caf"] * 2 + ["more"] * 2
    assert Session.load(file, store=MemorySessionStore()).message_count == 6


def test_what_a_model_says_or_raises_does_not_drive_the_terminal(chat: list[str], url: str) -> None:
    terminal = Terminal([*chat, "evil"])
    assert "a\\u001b[2Jb\\u000d\\u009bc" in terminal.type("hello")
    terminal.type("/quit", "")
    assert terminal.status() == 0
    terminal.close()
    terminal = Terminal([*chat, "failing"])
    for _ in range(2):  # a failure does not end the conversation
        assert "partly\r\nsessile: RuntimeError: no more \\u001b[2J" in terminal.type("hello")
    terminal.type("/quit", "")
    assert terminal.status() == 0
    terminal.close()


def test_a_line_is_edited_and_those_before_it_come_back(chat: list[str], url: str) -> None:
    up, left, home = b"\x1b[A", b"\x1b[D", b"\x01"
    terminal = Terminal([*chat, "echo"])
    terminal.type("the first question")
    terminal.type(b"wrld" + 3 * left + b"o" + home + b"hello ")
    terminal.type(up + up + b"?")
    terminal.type("/quit", "")
    assert terminal.status() == 0
    with Session("s", store=url) as session:
        said = [message.content for message in session.messages if message.role == "user"]
        assert said == ["the first question", "hello world", "the first question?"]
        assert session.title == "the first question"
        session.title = "mine"
    terminal = Terminal([*chat, "echo"])  # what was said before is there in the next chat, too
    terminal.type(up + up + b"!")
    terminal.type("/quit", "")
    assert terminal.status() == 0
    with Session("s", store=url) as session:
        assert session.messages[-1].content == "hello world!"
        assert session.title == "mine"


@pytest.mark.parametrize("no_color", [False, True])
def test_colours_are_as_the_user_wants_them(chat: list[str], url: str, no_color: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal([*chat, "slow"])
    os.write(terminal.end, b"hello\n")
    shown = terminal.until("1 ")
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]m", shown)) is not no_color
    terminal.close()


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_reply_is_shown_as_markdown(chat: list[str], url: str, interrupted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal([*chat, "formatted"])
    if interrupted:
        os.write(terminal.end, b"hello, wait\n")
        shown = terminal.until("The end")
        os.kill(terminal.process, signal.SIGINT)
        shown += terminal.until("\n> ")
    else:
        shown = terminal.type("hello")
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\r", "", line) for line in re.split(r"\n|\x1b\[2K", shown)]
    kept = [" ".join(line.split()) for line in lines]
    places = [kept.index(line) for line in ("The heading", "Some bold words\\u001b[2J.", "• one", "• two", "The end")]
    assert places == sorted(places)
    assert "\x1b[1mbold\x1b[0m" in shown
    assert "\x1b[2J" not in shown
    assert ("[interrupted]" in kept) is interrupted
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")  # the cursor is there again
    terminal.type("/quit", "")
    assert terminal.status() == 0
    terminal.close()
    assert Session("s", store=url).messages[-1].content.startswith("# The heading\n\nSome **bold**")


def test_odd_markdown_is_shown_whole(chat: list[str], url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = Terminal([*chat, "odd"])
    shown = terminal.type("hello")
    for text in (
        "a\\u2028b\\u000c",
        "\x1b[1mbold\x1b[0m",
        "http://h/x",
        "Vec<String>",
        "<p>block</p>",
        "\x1b[1mend\x1b[0m\\u000d",
    ):
        assert text in shown
    terminal.type("/quit", "")
    assert terminal.status() == 0
    terminal.close()


def test_a_plugin_may_name_a_chat(chat: list[str], url: str) -> None:
    for text, title in (("tell me of ships", "About ships"), ("tell me of trees", "tell me of trees")):
        assert piped([*chat, "echo"], text.encode())[0] == 0
        with Session("s", store=url) as session:
            assert session.title == title
            session.delete()


def piped(command: list[str], data: bytes) -> tuple[int, list[str], str]:
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    return done.returncode, done.stdout.decode().splitlines(), done.stderr.decode()


def test_odd_lines_in_a_pipe(chat: list[str], url: str) -> None:
    status, shown, errors = piped([*chat, "echo"], b"one\ncaf\xe9\n/save /dev/null/x\n//two\r\n\nthree")
    assert status == 2
    assert shown == ["> one", "one", "> /save /dev/null/x", "> //two", "/two", "> ", "> three", "three"]
    assert "is not UTF-8" in errors
    assert "was not saved" in errors
    assert [m.content for m in Session("s", store=url).messages if m.role == "user"] == ["one", "/two", "three"]


def test_for_programs_each_line_is_a_message_and_each_answer_a_line(chat: list[str], url: str) -> None:
    status, lines, errors = piped([*chat, "echo", "--json"], b"/help\n//two\ncaf\xe9\n\n three \n")
    found = [json.loads(line) for line in lines]
    assert [m.get("content") for m in found] == ["/help", "//two", None, " three "]
    assert found[2]["error"]["type"] == "InvalidInput"
    assert (status, errors) == (2, "")


def test_for_programs_a_model_that_fails_is_the_last_line(chat: list[str], url: str) -> None:
    status, lines, errors = piped([*chat, "failing", "--json"], b"one\ntwo\n")
    assert [json.loads(line)["error"]["type"] for line in lines] == ["RuntimeError"]
    assert (status, errors) == (3, "")
