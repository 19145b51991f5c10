"""`sessile chat`: a durable conversation on the terminal."""

from __future__ import annotations

import errno
import re
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from sessile.errors import InvalidInput
from sessile_cli.failures import report, text_of
from sessile_cli.files import refuse_existing
from sessile_cli.options import json_option, store_option, user_option
from sessile_cli.output import TITLE, content_of, message_json, one_line, print_json, say, status
from sessile_cli.replies import new_reply

_REMEMBERED = 200  # messages that are looked through for what was typed before
HELP = """/help                 this
/history [N]          the last N messages (20)
/save [--force] FILE  write the conversation to a file; --force replaces one that is there
/quit                 leave; the conversation stays
//…                   say something that begins with /"""


@click.command()
@click.option("--session", "session_id", metavar="ID", help="The session to go on with, or to begin.")
@user_option
@store_option
@click.option("--model", metavar="NAME", help="A model, such as openai:gpt-4o-mini. [default: $SESSILE_MODEL, else smollm]")
@click.option("--instructions", metavar="TEXT", default="", help="What the assistant is to be like.")
@json_option
def chat(
    session_id: str | None, user: str | None, store: str | None, model: str | None, instructions: str, as_json: bool
) -> None:
    """Talk with a model. Everything said is stored at once; Ctrl-C stops an answer and keeps what had arrived.

    A line that begins with / is a command: /help lists them. With --json each line of the input is a message as it is,
    and each reply is a line of JSON. A failure of the model or the store is the last line.
    """
    converse(session_id, user=user, store=store, model=model, instructions=instructions, as_json=as_json)


def converse(
    session_id: str | None,
    *,
    user: str | None,
    store: str | None,
    model: str | None,
    instructions: str = "",
    as_json: bool = False,
) -> None:
    """Run the conversation until /quit or the input's end."""
    from sessile import Agent, Session

    agent = Agent("Assistant", instructions, model=model)
    listener = _Listener()
    with Session(session_id, user_id=user, store=store, agent=agent, plugins=[listener]) as session:
        agent.find_model(session.plugins)  # a missing model is said before anything else
        number = _serve(session, listener) if as_json else _talk(session)
    click.get_current_context().exit(number)


class _Listener:
    """A plugin that keeps the reply that was stored last, and names a new session by its first question."""

    reply: Any = None
    begun = False  # has something been said in this chat?

    def on_agent_message(self, message: Any) -> None:
        self.reply = message

    def on_user_message(self, session: Any, message: Any) -> None:
        first, self.begun = not self.begun, True
        if first and not session.title and session.message_count == 1:
            titles = session.hook("session_title", message=message)
            session.title = one_line(str(titles[0]) if titles else message.text, TITLE)


def _serve(session: Any, listener: _Listener) -> int:
    """Answer each line of the input with a line of JSON. Returns the exit status."""
    number = 0
    while True:
        try:
            line = _piped()
            if line is None:
                return number
            if line.strip():
                session.chat(line)
                print_json(message_json(listener.reply), indent=None)
        except InvalidInput as error:  # nothing was said: the next line can be
            number = report(error, as_json=True)


def _talk(session: Any) -> int:
    """Say each line, or do what it asks for. Returns the exit status."""
    number, interactive = 0, sys.stdin.isatty()
    _greet(session)
    if interactive:
        _edit_lines(session)
    while True:
        try:
            line = _typed() if interactive else _echoed()
            if line is None or line == "/quit":
                return number
            _take(session, line, interactive)
        except InvalidInput as error:  # nothing was said: the next line can be
            failed = report(error, as_json=False)
            number = 0 if interactive else failed


def _take(session: Any, line: str, interactive: bool) -> None:
    """Send a line, or run its command. An error of the model or the store ends a piped chat, but not an interactive one."""
    try:
        if line.startswith("/") and not line.startswith("//"):
            _command(session, line)
        elif line:
            _answer(session, line.removeprefix("/") if line.startswith("//") else line)
    except InvalidInput:
        raise
    except Exception as error:
        nobody_reads = getattr(error, "errno", None) in (errno.EIO, errno.EPIPE)
        if nobody_reads or not interactive:
            raise
        report(error, as_json=False)


def _greet(session: Any) -> None:
    count = session.message_count
    known = f"{count} messages so far" if count else "new"
    say(f"Session {session.session_id} ({known}). /help lists the commands.", err=True)


def _edit_lines(session: Any) -> None:
    """Let the line that is typed be edited, and what was said before be brought back with the arrow keys."""
    try:
        import readline
    except ImportError:  # not on every system
        return
    readline.parse_and_bind("set enable-bracketed-paste off")  # else it sends the terminal more than the prompt
    for said in session.get_history(_REMEMBERED):
        if said.role == "user" and (line := one_line(said.text)):
            readline.add_history(f"/{line}" if line.startswith("/") else line)  # as it was typed


def _typed() -> str | None:
    """The next line that a person types; None at the end."""
    try:
        return _decoded(input("> ").encode(errors="surrogateescape")).strip()
    except EOFError:
        return None
    except KeyboardInterrupt:
        click.echo()
        return ""
    except UnicodeDecodeError as error:
        return _decoded(error.object)  # raises what says so


def _echoed() -> str | None:
    """The next line of a file or pipe, shown as if it was typed; None at the end."""
    line = _piped()
    if line is not None:
        line = line.strip()
        say(f"> {line}")
    return line


def _piped() -> str | None:
    """The next line of a file or pipe; None at the end."""
    data = click.get_binary_stream("stdin").readline()
    return _decoded(data).rstrip("\r\n") if data else None


def _decoded(data: bytes) -> str:
    """`InvalidInput` for a line that is not UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"the line {data[:40]!r} is not UTF-8 and was not sent: convert it first, such as with `iconv -f latin1 -t utf-8`"
        ) from error


def _answer(session: Any, text: str) -> None:
    """Say something and show the answer as it comes; what was shown is stored, whatever ends it."""
    reply, note = new_reply(), ""
    with closing(session.stream(text)) as pieces:
        try:
            with status("thinking"):
                first = next(pieces, "")
            reply.add(first)
            for piece in pieces:
                reply.add(piece)
        except KeyboardInterrupt:
            pieces.close()
            note = " [interrupted]"
        except BaseException:
            if reply.shown:
                reply.end()
            raise
    reply.end(note)


def _command(session: Any, line: str) -> None:
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name == "/help":
        say(HELP)
    elif name == "/history":
        _show_history(session, argument or "20")
    elif name == "/save":
        _save(session, argument)
    else:
        raise InvalidInput(f"unknown command {name!r}: /help lists the commands; type /{line} to send it as a message")


def _show_history(session: Any, limit: str) -> None:
    if not re.fullmatch("[0-9]{1,9}", limit):
        raise InvalidInput(f"/history takes a number of messages, not {limit!r}")
    for said in session.get_history(int(limit)):
        say(f"{said.role}: {content_of(said)}{' [interrupted]' if said.metadata.get('interrupted') else ''}")


def _save(session: Any, argument: str) -> None:
    force = argument.startswith("--force ")
    name = argument.removeprefix("--force ").strip()
    if not name:
        raise InvalidInput("/save takes the name of a file")
    path = Path(name).expanduser()
    try:
        if not force:
            refuse_existing(path, f"/save --force {name}")
        say(f"saved to {session.save(path)}")
    except OSError as error:
        raise InvalidInput(f"the conversation was not saved: {text_of(error)}") from error
