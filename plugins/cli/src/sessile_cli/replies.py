"""How a reply is shown while it arrives: as Markdown in a terminal that can show it, piece by piece elsewhere."""

from __future__ import annotations

import functools
import re
import sys
import time
from typing import Any, Protocol

import click

from sessile_cli.output import say, visible

_EVERY = 0.05  # seconds between two drawings
_TARGETS = re.compile(r"(?:\s*\[[^\]\n]+\]:[^\n]*(?:\n|$))+")  # lines that say where links lead


class Reply(Protocol):
    """A reply that is being shown."""

    shown: bool  # has anything been?

    def add(self, piece: str) -> None:
        """Show the next piece."""

    def end(self, note: str = "") -> None:
        """End the reply with a new line. note: what is shown behind it."""


def new_reply() -> Reply:
    """How the next reply is shown on standard output."""
    if not sys.stdout.isatty():
        return Plain()
    from rich.console import Console

    console = Console()
    return Plain() if console.is_dumb_terminal else Rendered(console)


class Plain:
    """Shows each piece as it is."""

    shown = False

    def add(self, piece: str) -> None:
        say(piece, nl=False)
        self.shown = True

    def end(self, note: str = "") -> None:
        say(note)


class Rendered:
    """Shows a reply as Markdown, block by block. The end of the one that is arriving is shown as it is, until it is complete."""

    shown = False

    def __init__(self, console: Any) -> None:
        from rich.live import Live

        self._console = console
        self._arriving, self._held = "", ""  # the text behind the blocks that are complete
        self._drawn_at = 0.0
        self._live = Live(console=console, transient=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)

    def add(self, piece: str) -> None:
        if not self.shown:
            self._live.start()
            self.shown = True
        piece = self._held + piece
        self._held = "\r" if piece.endswith("\r") else ""  # it may be half of an end of line
        self._arriving += visible(piece.removesuffix("\r"))
        if time.monotonic() - self._drawn_at > _EVERY:
            self._draw()

    def _draw(self) -> None:
        """Print all blocks but the last, which may go on, and show the end of that."""
        starts = [token.map[0] for token in _parser().parse(self._arriving) if _begins_block(token)]
        if len(starts) > 1:
            lines = re.split(r"(?<=\n)", self._arriving)  # as the parser counts them
            self._print("".join(lines[: starts[-1]]))
            self._console.print()
            self._arriving = "".join(lines[starts[-1] :])
        shown = self._arriving.split("\n")[-max(1, self._console.height - 2) :]  # what is higher cannot be drawn anew
        self._live.update(_text("\n".join(shown)), refresh=True)
        self._drawn_at = time.monotonic()

    def _print(self, text: str) -> None:
        from rich.markdown import Markdown

        targets = _TARGETS.match(text)
        if targets:  # of links that were shown before: Markdown shows nothing of them
            say(targets[0].strip("\n"))
            text = text[targets.end() :]
        if text.strip():
            shown = Markdown(text, hyperlinks=False)
            shown.parsed = _parser().parse(text)
            self._console.print(shown)

    def end(self, note: str = "") -> None:
        if self.shown:
            self._live.stop()
        self._print(self._arriving + visible(self._held))
        if note or not self.shown:
            click.echo(visible(note))


@functools.cache
def _parser() -> Any:
    """The parser of rich's Markdown, but that what is in pointed brackets is text."""
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark", {"html": False}).enable("table").enable("strikethrough")


def _begins_block(token: Any) -> bool:
    return bool(token.map) and not token.level and token.nesting >= 0


def _text(text: str) -> Any:
    from rich.text import Text

    return Text(text)
