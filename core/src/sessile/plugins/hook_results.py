"""Checks and converts the results of hooks. `InvalidInput` says what is wrong with a result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sessile.conversation.messages import Message, as_message, as_messages
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput
from sessile.log.encoding import JSON, json_value
from sessile.plugins.middleware import check


def _listed(hook: str, value: object) -> Iterable[Any]:
    if not isinstance(value, (list, tuple)):
        raise InvalidInput(f"{hook} returned {shorten(value)}: return a list of messages, or None")
    return value


def _prompt(value: object) -> list[Message]:
    messages = [said if type(said) is Message else as_message(said) for said in _listed("build_context", value)]
    if not messages:
        raise InvalidInput("build_context returned an empty prompt: return what the model is to be sent, or None")
    return messages


def _resumed(value: object) -> list[Message]:
    return as_messages(_listed("on_agent_start", value))


def _layers(value: object) -> list[Callable[..., Any]]:
    return [check(layer) for layer in (value if isinstance(value, (list, tuple)) else [value])]


def _state(value: object) -> dict[str, JSON]:
    if not isinstance(value, Mapping):
        raise InvalidInput(f"restore_state returned {shorten(value)}: return a dict, or None")
    state: dict[str, JSON] = json_value(dict(value), "the state")
    return state


def _label(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(f"want_snapshot returned {shorten(value)}: return a label, or None")
    label: str = json_value(value, "the label")
    return label


CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "build_context": _prompt,
    "middleware": _layers,
    "on_agent_start": _resumed,
    "restore_state": _state,
    "want_snapshot": _label,
}
