"""Models: what a language model plugin implements, and how one is found by name."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import attrs

from sessile.errors import InvalidInput, NotInstalled
from sessile.messages import Message
from sessile.plugins import Plugins
from sessile.tools import Tool

EMBEDDED = "smollm"


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


def find_model(model: Any, plugins: Plugins) -> Any:
    """The model to use: an instance as it is, a name from the registry ("name" or "name:variant"), or the default.

    None means $SESSILE_MODEL, else the embedded model. A named model is made once for the plugin that registers it.
    """
    if model is not None and not isinstance(model, str):
        if not is_model(model):
            raise InvalidInput(f"{model!r} is no model: pass a registered name or an object with generate(request)")
        return model
    name = model or os.environ.get("SESSILE_MODEL") or EMBEDDED
    base, _, variant = name.partition(":")
    try:
        registration = plugins.registry.find("model", base)
    except NotInstalled as error:
        if model or base != EMBEDDED:
            raise
        raise NotInstalled(
            "no language model is installed. Try: pip install sessile-smollm (embedded, for trying things out), or "
            "pip install sessile-openai and pass model='openai:NAME'"
        ) from error
    if variant not in registration.made:
        with registration.lock:
            if variant not in registration.made:
                factory = registration.load()
                registration.made[variant] = factory(variant) if variant else factory()
    return registration.made[variant]


def is_model(value: object) -> bool:
    """Is this an object that answers? A class is none: its instances are."""
    return not isinstance(value, type) and callable(getattr(value, "generate", None))
