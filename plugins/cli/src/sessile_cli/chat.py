"""`sessile chat`: a conversation on the terminal that stays."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from sessile_cli.options import json_option, status, store_option, user_option

HELP = """/help            this
/history [N]     the last N messages (20)
/save FILE       write the conversation to a file
/quit            leave; the conversation stays"""


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

    With --json each line of the input is a message, and each reply is a line of JSON.
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
    with Session(session_id, user_id=user, store=store, agent=agent) as session:
        agent.find_model(session._handle.plugins)  # a missing model is said before anything else
        _greet(session)
        while (line := _read(echo=not as_json)) is not None:
            if line == "/quit":
                break
            if line.startswith("/"):
                _command(session, line)
            elif line and as_json:
                session.chat(line)
                click.echo(json.dumps(session.get_history(1)[0], ensure_ascii=False))
            elif line:
                _answer(session, line)


def _greet(session: Any) -> None:
    count = session.message_count
    known = f"{count} messages so far" if count else "new"
    click.echo(f"Session {session.session_id} ({known}). /help lists the commands.", err=True)


def _read(*, echo: bool) -> str | None:
    try:
        line = input("> " if echo and sys.stdin.isatty() else "")
    except EOFError:
        return None
    except KeyboardInterrupt:
        click.echo()
        return ""
    if echo and not sys.stdin.isatty():
        click.echo(f"> {line}")
    return line.strip()


def _answer(session: Any, text: str) -> None:
    from sessile.errors import SessileError

    pieces = session.stream(text)
    shown = False
    try:
        with status("thinking"):
            first = next(pieces, "")
        for piece in _then(first, pieces):
            click.echo(piece, nl=False)
            shown = True
    except KeyboardInterrupt:
        pieces.close()
        click.echo(" [interrupted]", nl=False)
    except SessileError as error:
        if not sys.stdin.isatty():
            raise
        click.echo(("\n" if shown else "") + f"sessile: {error}", err=True)
    click.echo()


def _then(first: str, rest: Any) -> Any:
    yield first
    yield from rest


def _command(session: Any, line: str) -> None:
    name, _, argument = line.partition(" ")
    argument = argument.strip()
    if name == "/help":
        click.echo(HELP)
    elif name == "/history":
        limit = int(argument) if argument.isdigit() else 20
        for said in session.get_history(limit):
            click.echo(f"{said.role}: {said.text}{' [interrupted]' if said.metadata.get('interrupted') else ''}")
    elif name == "/save" and argument:
        click.echo(f"saved to {session.save(argument)}")
    else:
        click.echo(f"unknown command {line!r}; /help lists the commands", err=True)
