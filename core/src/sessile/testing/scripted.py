"""A model for tests, which says what it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from sessile.conversation.model import Answer, Request, TokenUsage
from sessile.drive.locks import new_lock
from sessile.drive.shown import shorten

Reply = Answer | BaseException | Sequence[Any] | Callable[[Request], Any]


class ScriptedModel:
    """A model that gives these replies, one a request: `Agent(model=ScriptedModel("Hello", {"tool_calls": […]}))`.

    A reply is text, a message (a dict), an exception, which is raised, a list of pieces, which are given one after the other (of
    these, too, an exception is raised), or a function that is called with the request and returns one of all these. Text comes
    word by word. usage: what it reports of each reply (see `sessile.models.TokenUsage`).

    requests: what it was asked, in order. Asked more often than it has replies, it raises AssertionError.
    """

    def __init__(self, *replies: Reply, usage: TokenUsage | None = None) -> None:
        self.requests: list[Request] = []
        self._replies = replies
        self._usage = usage
        self._lock = new_lock()

    def __repr__(self) -> str:
        return f"ScriptedModel({len(self._replies)} replies, {self.remaining} left)"

    @property
    def remaining(self) -> int:
        """How many replies it has not given yet."""
        return len(self._replies) - len(self.requests)

    def generate(self, request: Request) -> Iterator[Any]:
        with self._lock:
            if not self.remaining:
                last = shorten(request.messages[-1].text) if request.messages else "nothing"
                raise AssertionError(f"the script has {len(self._replies)} replies, and was asked once more, for {last}: add one")
            reply: Any = self._replies[len(self.requests)]
            self.requests.append(attrs.evolve(request, messages=[*request.messages]))
        return self._pieces(reply(request) if _is_function(reply) else reply)

    def _pieces(self, reply: Any) -> Iterator[Any]:
        if self._usage is not None:
            yield {"metadata": {"usage": self._usage}}
        for piece in reply if isinstance(reply, (list, tuple)) else [reply]:
            if isinstance(piece, BaseException):
                raise piece
            if isinstance(piece, str) and piece is reply:
                yield from re.findall(r"\S+\s*|\s+", piece)
            else:
                yield piece


def _is_function(reply: object) -> bool:
    return callable(reply) and not isinstance(reply, (Mapping, BaseException))
