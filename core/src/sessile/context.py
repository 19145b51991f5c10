"""Context building: which part of a history a model is sent.

Whole turns only: a turn that is still open, or a tool call without its result, is left out together with the reply
that followed, since providers refuse unpaired calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import Any

from sessile.lineage import unanswered
from sessile.messages import Message

WINDOW = 50  # messages
BUDGET = 8_000  # tokens


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: four characters each, the usual rule for English (OpenAI's tokenizer notes)."""
    return len(text) // 4 + 1


def prompt(
    history: Sequence[Message],
    current: Sequence[Message],
    *,
    instructions: str = "",
    window: int = WINDOW,
    budget: int = BUDGET,
    count_tokens: Callable[[str], int] = estimate_tokens,
) -> list[Message]:
    """Instructions, the latest whole turns of `history` within the window and the budget, then the `current` turn.

    window: messages, of history and current turn together. budget: tokens, counted by `count_tokens`. What is said in
    the current turn is always sent whole.
    """
    system = [Message(role="system", content=instructions)] if instructions else []

    def cost(messages: Iterable[Message]) -> int:
        return sum(count_tokens(said.text) + 4 for said in messages)

    room, tokens = window - len(current), budget - cost(system) - cost(current)
    kept: list[list[Message]] = []
    for turn in reversed(sendable(history)):
        room, tokens = room - len(turn), tokens - cost(turn)
        if room < 0 or tokens < 0:
            break
        kept.append(turn)
    return [*system, *(said for turn in reversed(kept) for said in turn), *current]


def sendable(history: Sequence[Message]) -> list[list[Message]]:
    """The turns of a history that may be sent: closed, their tool calls paired with results."""
    return [sent for turn in _grouped(history) if not turn[0].open and (sent := _paired(turn))]


def _grouped(history: Sequence[Message]) -> list[list[Message]]:
    """Messages by turn; those outside of turns from one user's message to the next."""
    number = 0
    keys: list[Any] = []
    for said in history:
        number += said.role == "user" and said.turn is None
        keys.append(said.turn or number)
    return [[said for said, _ in group] for _, group in groupby(zip(history, keys, strict=True), key=lambda pair: pair[1])]


def _paired(turn: list[Message]) -> list[Message]:
    """A turn up to its first tool call without a result, and without results that no call precedes."""
    missing = unanswered(turn)
    sent: list[Message] = []
    called: set[str] = set()
    for said in turn:
        calls = {call["id"] for call in said.tool_calls}
        if calls & missing:
            break
        called |= calls
        if said.role != "tool" or said.tool_call_id in called:
            sent.append(said)
    return sent
