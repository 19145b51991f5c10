"""What a failure is on the command line: one line in the shell's words, or one JSON object, and an exit status."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

import click

from sessile.errors import (
    AccessDenied,
    Conflict,
    InvalidInput,
    NotInstalled,
    SessileError,
    SessionExists,
    SessionNotFound,
    StoreError,
)
from sessile_cli.output import one_line, print_json, say

# 0: done. 1: done, and something is wrong (`verify`, `doctor`, `copy`). The first that fits:
STATUSES: tuple[tuple[int, tuple[type[BaseException], ...]], ...] = (
    (2, (InvalidInput,)),
    (4, (SessionNotFound, NotInstalled, FileNotFoundError)),
    (5, (SessionExists, AccessDenied, Conflict, FileExistsError)),
    (6, (StoreError,)),
)
OTHER = 3
ABORTED = 130

# What the core's errors tell a programmer to do, and how that is done in a shell.
_VERBS = {"snapshots": "log", "save": "export"}
_OPTIONS = {"user_id": "user", "session_id": "session"}
_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""  # as repr writes it
_SESSION = rf"(?:Async)?Session\((?P<id>{_TEXT})(?:, user_id=(?P<user>{_TEXT}))?\)"
WORDS: tuple[tuple[str, Any], ...] = (
    (rf"^{_SESSION}", r"session \g<id>"),
    (_SESSION, lambda m: _resume(m)),
    (r"\b(?:await )?session\.(\w+)\([^()]*\)", lambda m: f"`sessile session {_VERBS.get(m[1], m[1])}`"),
    (rf"\b(?:pass )?(model|user_id|session_id|store|policy|title|label)=({_TEXT})", lambda m: _option(m)),
    (r"import under another session_id\b", "choose another id with --session"),
    (r"another session_id\b", "another id with --as"),
    (r"\ba snapshot, its label, a message, or a number\b", "a snapshot's label or id, or a number"),
    (r"\bpass a policy\b", "choose a --policy"),
    (r": urllib\.parse\.quote\(password, safe=''\)", ", such as %40 for @"),
    (r", or raise lock_timeout\b", ""),
    (r"chat\(\) or save_state\(\)", "`sessile chat`"),
)


def _resume(found: re.Match[str]) -> str:
    user = f" --user {_quoted(found['user'])}" if found["user"] else ""
    return f"`sessile session resume {_quoted(found['id'])}{user}`"


def _option(found: re.Match[str]) -> str:
    return f"--{_OPTIONS.get(found[1], found[1])} {_quoted(found[2])}"


def _quoted(text: str) -> str:
    try:
        return shlex.quote(str(ast.literal_eval(text)))
    except (SyntaxError, ValueError):  # a text that was cut for the error
        return text


def in_words(text: str) -> str:
    """An error's text with the Python in it put into the words of the command line."""
    for pattern, words in WORDS:
        text = re.sub(pattern, words, text)
    return text


def text_of(error: BaseException) -> str:
    """A failure as one line."""
    if isinstance(error, click.ClickException):
        return one_line(error.format_message())
    if isinstance(error, SessileError):  # ours say all in their text
        return one_line(in_words(str(error)))
    if isinstance(error, OSError) and error.strerror:
        return one_line(error.strerror if error.filename is None else f"{error.strerror}: {error.filename!r}")
    return one_line(f"{type(error).__name__}: {error}")


def status_of(error: BaseException) -> int:
    """The exit status of a failure."""
    if isinstance(error, click.ClickException):
        return error.exit_code
    return next((number for number, kinds in STATUSES if isinstance(error, kinds)), OTHER)


def report(error: BaseException, *, as_json: bool) -> int:
    """Report a failure and return its exit status: one line of JSON on standard output, or of text on standard error.

    Where standard output is what failed, the text is all there is.
    """
    number = status_of(error)
    if as_json and _printed({"type": type(error).__name__, "message": text_of(error), "status": number}):
        return number
    if isinstance(error, click.ClickException):
        error.show()
    else:
        say(f"sessile: {text_of(error)}", err=True)
    return number


def report_aborted(*, as_json: bool) -> int:
    """The same for what was ended from outside, or by a question that was not answered with yes."""
    if not (as_json and _printed({"type": "Aborted", "message": "aborted", "status": ABORTED})):
        say("aborted", err=True)
    return ABORTED


def _printed(error: dict[str, Any]) -> bool:
    try:
        print_json({"error": error}, indent=None)
    except OSError:
        return False
    return True
