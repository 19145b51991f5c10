"""Options that several commands share, and how results are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

store_option = click.option(
    "--store", metavar="URL", help="Where sessions are, such as sqlite:///chat.db. [default: $SESSILE_STORE, else ~/.sessile]"
)
user_option = click.option("--user", metavar="ID", help="Whose sessions.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def print_json(value: Any) -> None:
    """One JSON value, readable, on standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, as wide as it needs to be."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*row)
    console = Console()
    if not console.is_terminal:  # for programs, and files: a line a row
        console.width = sum(max(map(len, column)) + 2 for column in zip(columns, *rows, strict=True))
    console.print(table)


def status(text: str) -> Any:
    """A spinner on standard error while something is waited for; nothing where that is no terminal."""
    from rich.console import Console

    return Console(stderr=True).status(text)


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, moved by calls with (done, total); nothing where that is no terminal."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(text, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
