"""`sessile search`: what was said, in all sessions of a store."""

from __future__ import annotations

import time

import click

from sessile_cli.options import json_option, limit_option, store_option, user_option
from sessile_cli.output import LINE, ago, message_json, one_line, print_json, print_table, say
from sessile_cli.sessions import manager_of


@click.command()
@click.argument("text", nargs=-1, required=True)
@user_option
@store_option
@limit_option("At most so many.", 20)
@json_option
def search(text: tuple[str, ...], user: str | None, store: str | None, limit: int, as_json: bool) -> None:
    """Search what was said. All words must be in a message.

    "a phrase" in quotes (which the shell must leave: '"late parcel"'), the beginning of a word as begin*, user:ID,
    session:ID, after:2026-11-30.
    """
    hits = manager_of(store).search(" ".join(text), user_id=user, limit=limit)
    if as_json:
        found = [(hit.session_id, hit.snippet(), hit.marks, message_json(hit.message)) for hit in hits]
        print_json([dict(zip(("session_id", "snippet", "marks", "message"), row, strict=True)) for row in found])
    elif hits:
        now = time.time()
        rows = [
            [hit.session_id, hit.message.role, ago(hit.message.timestamp, now), one_line(hit.snippet(LINE), 2 * LINE)]
            for hit in hits
        ]
        print_table(["session", "role", "said", "text"], rows)
    else:
        say("nothing found")
