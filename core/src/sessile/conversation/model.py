"""Models: what a language model plugin implements."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import attrs

from sessile.conversation.messages import Message
from sessile.conversation.tools import Tool


@attrs.frozen(kw_only=True)
class Request:
    """What a model is asked.

    messages: the prompt, oldest first. tools: what it may call. emit: call it with each piece of the answer's text as
    it arrives; None when nobody reads along. It raises `TurnInterrupted` when the reader is gone: let that through.
    options: the agent's own, such as temperature.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    emit: Callable[[str], None] | None = None
    options: dict[str, Any] = attrs.field(factory=dict)


class Model(Protocol):
    """A language model: one method, blocking or `async def`.

    Returns the whole answer: text, or a message (dict) whose `tool_calls` are [{"id", "name", "arguments": dict}].
    Optional attributes steer what it is sent: `window` (messages), `budget` (tokens), `count_tokens(text) -> int`.
    """

    def generate(self, request: Request) -> Any | Awaitable[Any]: ...


class EchoModel:
    """A model that repeats what it was told: for tests and for trying a session out without any model."""

    def generate(self, request: Request) -> str:
        text: str = request.messages[-1].text
        if request.emit is not None:
            for piece in re.findall(r"\S+\s*|\s+", text):
                request.emit(piece)
        return text


def is_model(value: object) -> bool:
    """Is this an object that answers? A class is none: its instances are."""
    return not isinstance(value, type) and callable(getattr(value, "generate", None))
