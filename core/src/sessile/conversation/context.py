"""Context building: which part of a conversation a model is sent. Whole turns only (see `PastTurn.sendable`)."""

from __future__ import annotations

from collections.abc import Sequence

from sessile.conversation.messages import Message, handed_out
from sessile.conversation.past import CountTokens, PastTurn, tokens_of

WINDOW = 50  # messages
BUDGET = 8_000  # tokens


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: four characters each, the usual rule for English (OpenAI's tokenizer notes)."""
    return len(text) // 4 + 1


def prompt(
    past: Sequence[PastTurn],
    current: Sequence[Message],
    *,
    instructions: str = "",
    window: int = WINDOW,
    budget: int = BUDGET,
    count_tokens: CountTokens = estimate_tokens,
) -> list[Message]:
    """Instructions, the latest past turns that fit the window and the budget, then the `current` turn.

    window: messages, of the past and the current turn together. budget: tokens, counted by `count_tokens`. What is said
    in the current turn is always sent whole. What a model or a plugin does to these messages stays with it.
    """
    system = [Message(role="system", content=instructions)] if instructions else []
    room = window - len(current)
    tokens = budget - tokens_of(system, count_tokens) - tokens_of(current, count_tokens)
    kept: list[list[Message]] = []
    for turn in reversed(past):
        sent, cost = turn.sendable(count_tokens)
        room, tokens = room - len(sent), tokens - cost
        if room < 0 or tokens < 0:
            break
        kept.append(sent)
    messages = system
    for sent in reversed(kept):
        messages += sent
    return [_unsourced(said) for said in messages + handed_out(current)]


def _unsourced(said: Message) -> Message:
    """A message without the original of whoever wrote it."""
    return Message({name: value for name, value in said.items() if name != "raw"}) if "raw" in said else said
