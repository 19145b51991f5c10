"""Context building: which part of a conversation a model is sent. Whole turns only (see `PastTurn.sendable`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sessile.conversation.messages import Message, handed_out
from sessile.conversation.prompt.past import CountTokens, PastTurn, tokens_of
from sessile.conversation.taking import MessageLike, as_message

WINDOW = 50  # messages
BUDGET = 8_000  # tokens


def estimate_tokens(text: str) -> int:
    """About how many tokens a text is: four characters each, the usual rule for English (OpenAI's tokenizer notes)."""
    return len(text) // 4 + 1


class Room:
    """What is left of a prompt, for the hook `recall`. tokens: so many, once the instructions and the current turn are in it."""

    def __init__(self, tokens: int, count_tokens: CountTokens = estimate_tokens) -> None:
        self.tokens = tokens
        self._count_tokens = count_tokens

    def __repr__(self) -> str:
        return f"Room({self.tokens})"

    def count(self, *messages: MessageLike | str) -> int:
        """The tokens of messages, or of texts that are to be messages, as the prompt counts them."""
        found = [Message(content=said) if isinstance(said, str) else as_message(said) for said in messages]
        return tokens_of(found, self._count_tokens)

    def copy(self) -> Room:
        """The same for somebody else, who may take what is here without taking it from this one."""
        return Room(self.tokens, self._count_tokens)

    def take(self, messages: Iterable[Message]) -> list[Message]:
        """The messages that fit, from the first on; what they take is not left any more."""
        taken: list[Message] = []
        for said in messages:
            cost = tokens_of([said], self._count_tokens)
            if cost > self.tokens:
                break
            self.tokens -= cost
            taken.append(said)
        return taken


def room(
    current: Sequence[Message], *, instructions: str = "", budget: int = BUDGET, count_tokens: CountTokens = estimate_tokens
) -> Room:
    """What the instructions and the current turn, which are always sent whole, leave of the budget."""
    taken = tokens_of([*_system(instructions), *current], count_tokens)
    return Room(max(0, budget - taken), count_tokens)


def _system(instructions: str) -> list[Message]:
    return [Message(role="system", content=instructions)] if instructions else []


def prompt(
    past: Sequence[PastTurn],
    current: Sequence[Message],
    *,
    instructions: str = "",
    recalled: Sequence[Message] = (),
    window: int = WINDOW,
    budget: int = BUDGET,
    count_tokens: CountTokens = estimate_tokens,
) -> list[Message]:
    """Instructions, what was recalled, the latest past turns that fit the window and the budget, then the `current` turn.

    recalled: as much of it as the budget has room for, from the first on. window: messages, of the past and the current turn
    together. budget: tokens, counted by `count_tokens`. What is said in the current turn is always sent whole. What a model or a
    plugin does to these messages stays with it.
    """
    left = room(current, instructions=instructions, budget=budget, count_tokens=count_tokens)
    messages = [*_system(instructions), *handed_out(left.take(recalled))]
    places, tokens = window - len(current), left.tokens
    kept: list[list[Message]] = []
    for turn in reversed(past):
        sent, cost = turn.sendable(count_tokens)
        places, tokens = places - len(sent), tokens - cost
        if places < 0 or tokens < 0:
            break
        kept.append(sent)
    for sent in reversed(kept):
        messages += sent
    return [_unsourced(said) for said in messages + handed_out(current)]


def _unsourced(said: Message) -> Message:
    """A message without the original of whoever wrote it."""
    return Message({name: value for name, value in said.items() if name != "raw"}) if "raw" in said else said
