"""How results are shown: as text that cannot drive a terminal, as a table, or as JSON."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import click

TITLE, LINE = 60, 70  # characters that a list shows of a title, and of a message

# What moves a cursor, hides or reorders text: control characters but for tab and newline, separators of lines, directions
# of writing, and halves of characters, which no terminal can show.
_CONTROL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def visible(text: str) -> str:
    """A text whose control characters are shown as JSON writes them, such as \\u001b, instead of being obeyed."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def one_line(text: str, width: int | None = None) -> str:
    """A visible text with single spaces for its white space, cut after `width` characters."""
    line = visible(" ".join(text.split()))
    return line if width is None or len(line) <= width else f"{line[: width - 1]}…"


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """A text on standard output, or standard error, made visible."""
    click.echo(visible(text), err=err, nl=nl)


def print_json(value: Any, *, indent: int | None = 2) -> None:
    """One JSON value on standard output; on one line where `indent` is None."""
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    say(json.dumps(value, indent=indent, ensure_ascii=not unicode))


def message_json(said: Mapping[str, Any]) -> dict[str, Any]:
    """A message as JSON shows it: its time is ISO 8601."""
    return {**said, "timestamp": moment(said["timestamp"]).isoformat()}


def summary_json(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A session's summary (see `Header.summary`) as JSON shows it: its times are ISO 8601."""
    times = {name: moment(summary[name]).isoformat() for name in ("created_at", "updated_at")}
    return {**summary, **times}


def moment(seconds: float) -> datetime:
    """Seconds since 1970 as a time in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def ago(seconds: float, now: float) -> str:
    """How long ago a moment was (both in seconds since 1970): "3 hours ago"; the day (UTC), where that is more than a week."""
    passed = max(0.0, now - seconds)
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if passed >= size:
            number = int(passed // size)
            if name == "day" and number > 7:
                return moment(seconds).strftime("%Y-%m-%d")
            return f"{number} {name}{'s' if number > 1 else ''} ago"
    return "just now"


def content_of(said: Any) -> str:
    """What a message says, or the tools that it calls."""
    return said.text or ", ".join(f"{call['name']}({json.dumps(call['arguments'])})" for call in said.tool_calls)


def print_table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output, a line a row where that is no terminal."""
    cells = [[one_line(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_wrapped(columns, cells)
        return
    from rich.cells import cell_len

    widths = [max(map(cell_len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (columns, *cells):
        padded = (cell + " " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(padded).rstrip())


def _print_wrapped(columns: list[str], cells: list[list[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=None, pad_edge=False)
    for row in cells:
        table.add_row(*map(Text, row))  # as text: else "[/x]" in a title is markup
    Console().print(table)


def status(text: str) -> Any:
    """A spinner on standard error while something is waited for; nothing where that is no terminal."""
    from rich.console import Console

    return Console(stderr=True).status(text)


@contextmanager
def progress_bar(text: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, moved by calls with (done, total); nothing where that is no terminal."""
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    with Progress(console=console, transient=True) as bars:
        task = bars.add_task(escape(one_line(text, 60)), total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
