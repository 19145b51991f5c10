"""Models: what a language model plugin implements, and how it says how many tokens it took."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol, TypedDict

import attrs

from sessile.conversation.foreign import Api, Dumps
from sessile.conversation.messages import Message
from sessile.conversation.openai_forms import to_openai
from sessile.conversation.tools import Tool
from sessile.drive.arguments import checked


@attrs.frozen(kw_only=True)
class Request:
    """What a model is asked.

    messages: the prompt, oldest first. tools: what it may call. emit: for a model that returns its answer whole: call it with
    each piece of the answer's text as it arrives; None when nobody reads along. It raises `TurnInterrupted` when the reader is
    gone: let that through. A model that yields pieces leaves it alone. options: the agent's own, such as temperature.
    """

    messages: Sequence[Message]
    tools: Sequence[Tool] = ()
    emit: Callable[[str], None] | None = None
    options: dict[str, Any] = attrs.field(factory=dict)

    @checked
    def to_openai(self, api: Api = "chat") -> dict[str, Any]:
        """`messages` (or `input`), and `tools` where there are any: keywords of OpenAI's client, `create(model=…, **this)`.

        api: "chat" for chat completions, "responses" for the Responses API.
        """
        body: dict[str, Any] = {"messages" if api == "chat" else "input": to_openai(self.messages, api)}
        if self.tools:
            body["tools"] = [tool.to_openai(api) for tool in self.tools]
        return body


class TokenUsage(TypedDict, total=False):
    """The tokens that one answer took, as a model says them in the answer's `metadata["usage"]`.

    input_tokens: of the prompt, of which cached_tokens were read from the provider's cache. output_tokens: of the answer, of
    which reasoning_tokens were for thinking. model: the model's full name.
    """

    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    model: str


Answer = str | Mapping[str, Any] | Dumps  # the whole of it, or a piece: text, or what says the rest
Pieces = Iterator[Answer] | AsyncIterator[Answer]


class Model(Protocol):
    """A language model: one method, `def`, `async def`, or a generator of either kind.

    It returns the whole answer: text, a message (a dict whose `tool_calls` are [{"id", "name", "arguments": dict}]), or what
    OpenAI's client returned. Or it yields pieces as they arrive: text, and dicts that say more of the message, such as
    {"tool_calls": […]} and {"metadata": {"usage": {…}}}. Contents and calls add up (of calls with one id, the last counts);
    of what is said twice in metadata, or in usage, the last counts, as providers report totals. A whole answer of OpenAI's client
    takes the place of the pieces before it.
    `ModelError` for any other piece, and for a generator that returns a value.
    What it says in `metadata["usage"]` (see `TokenUsage`) is what `Session.usage` sums up.
    Optional attributes steer what it is sent: `window` (messages), `budget` (tokens), `count_tokens(text) -> int`.
    """

    def generate(self, request: Request, /) -> Answer | Pieces | Awaitable[Answer | Pieces]: ...


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


class Usage(NamedTuple):
    """The tokens that replies took: what `Session.usage` returns.

    input_tokens (cached_tokens of them from a cache), output_tokens (reasoning_tokens of them for thinking): the sums of what the
    models reported. replies: the assistant's messages. unreported: how many of these have no usage, such as interrupted ones,
    and those of models that report none. by_model: the same for each model's name.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    replies: int = 0
    unreported: int = 0
    by_model: Mapping[str, Usage] = MappingProxyType({})

    @property
    def total_tokens(self) -> int:
        """input_tokens and output_tokens."""
        return self.input_tokens + self.output_tokens

    def to_dict(self) -> dict[str, Any]:
        """The numbers by their names, with `total_tokens`, as JSON values."""
        by_model = {name: usage.to_dict() for name, usage in self.by_model.items()}
        return {**self._asdict(), "total_tokens": self.total_tokens, "by_model": by_model}

    @classmethod
    def of(cls, messages: Iterable[Message]) -> Usage:
        """The usage of these messages."""
        models: dict[str, list[Mapping[str, Any]]] = {}
        replies = unreported = 0
        for said in messages:
            if said.role == "assistant":
                usage = reported(said)
                replies += 1
                unreported += usage is None
                if usage is not None:
                    models.setdefault(str(usage.get("model") or ""), []).append(usage)
        by_model = {name: cls(**_sums(found), replies=len(found)) for name, found in models.items()}
        sums = _sums([usage for found in models.values() for usage in found])
        return cls(**sums, replies=replies, unreported=unreported, by_model=MappingProxyType(by_model))


_COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")


def _sums(found: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: sum(usage.get(name) or 0 for usage in found) for name in _COUNTS}


def reported(said: Message) -> Mapping[str, Any] | None:
    """What a message says of the tokens it took; None where that is nothing, or nothing that can be summed up."""
    usage = said.metadata.get("usage")
    if not isinstance(usage, Mapping) or not usage.keys() & {*_COUNTS}:
        return None
    return usage if all(_is_count(usage.get(name)) for name in _COUNTS) else None


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63)
