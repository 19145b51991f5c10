"""Hooks of the command line's own, for other plugins."""

from __future__ import annotations

from typing import Any

from sessile import Message
from sessile.plugins import hookspec


@hookspec(firstresult=True)
def session_title(session: Any, session_id: str, message: Message) -> str | None:
    """Return a title for a new chat that began with this message, or None to use its first words.

    Implement it with `@hookimpl(optionalhook=True)`: without sessile-cli there is no such hook.
    """
