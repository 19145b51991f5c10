"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from sessile.store import MOST, check_id

store_option = click.option(
    "--store", metavar="URL", help="Where sessions are, such as sqlite:///chat.db. [default: $SESSILE_STORE, else ~/.sessile]"
)
user_option = click.option(
    "--user",
    metavar="ID",
    help="Whose sessions.",
    callback=lambda ctx, option, value: None if value is None else check_id(value, "user id"),
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def limit_option(help: str, default: int | None = None) -> Callable[[Any], Any]:
    """`--limit N`, a number from 0 to what a query may ask for."""
    number = click.IntRange(0, MOST)
    return click.option("--limit", type=number, default=default, show_default=default is not None, help=help)


def on_session(command: Callable[..., None]) -> Callable[..., None]:
    """The argument and options that all commands about one session have."""
    for option in (json_option, store_option, user_option, click.argument("session_id")):
        command = option(command)
    return command
