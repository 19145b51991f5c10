"""A model for tests, which says what it is told to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs

from sessile.conversation.model import Answer, Request, TokenUsage
from sessile.drive.locks import new_lock
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput

Reply = Answer | BaseException | type[BaseException] | Sequence[Any] | Callable[[Request], Any]


class ScriptedModel:
    """A model that gives these replies, one a request: `Agent(model=ScriptedModel("Hello", {"tool_calls": […]}))`.

    Each argument is one reply: text, which comes word by word; a message (a dict, or an SDK's object); an exception, which is
    raised; a list of pieces, which are given one after the other (of these, too, an exception is raised); or a function of the
    request, which returns one of all these, or whatever else a model's `generate` may. usage: what it reports of each reply that
    is not a function's (see `sessile.models.TokenUsage`).

    requests: what it was asked, in order. Asked more often than it has replies, it raises AssertionError. `InvalidInput` for what
    is no reply.
    """

    def __init__(self, *replies: Reply, usage: TokenUsage | None = None) -> None:
        for reply in replies:
            if not _is_reply(reply):
                raise InvalidInput(
                    f"{shorten(reply)} is no reply: pass text, a dict, a list of pieces, an exception, or a function"
                )
        self.requests: list[Request] = []
        self._replies = replies
        self._given = 0
        self._usage = usage
        self._lock = new_lock()

    def __repr__(self) -> str:
        return f"ScriptedModel({len(self._replies)} replies, {self.remaining} left)"

    @property
    def remaining(self) -> int:
        """How many replies it has not given yet."""
        return len(self._replies) - self._given

    def generate(self, request: Request) -> Any:
        with self._lock:
            if not self.remaining:
                last = shorten(request.messages[-1].text) if request.messages else "nothing"
                raise AssertionError(f"the script has {len(self._replies)} replies, and was asked once more, for {last}: add one")
            reply: Any = self._replies[self._given]
            self._given += 1
            self.requests.append(attrs.evolve(request, messages=[*request.messages]))
        if _is_function(reply):
            reply = reply(request)
            return self._pieces(reply) if isinstance(reply, _SCRIPTED) else reply
        return self._pieces(reply, self._usage)

    def _pieces(self, reply: Any, usage: TokenUsage | None = None) -> Iterator[Any]:
        if usage is not None:
            yield {"metadata": {"usage": usage}}
        for piece in reply if isinstance(reply, (list, tuple)) else [reply]:
            if isinstance(piece, BaseException) or (isinstance(piece, type) and issubclass(piece, BaseException)):
                raise piece
            if isinstance(piece, str) and piece is reply:
                yield from re.findall(r"\S+\s*|\s+", piece)
            else:
                yield piece


_SCRIPTED = (str, list, tuple, BaseException)  # what is played piece by piece


def _is_reply(reply: object) -> bool:
    if isinstance(reply, type):
        return issubclass(reply, BaseException)
    return isinstance(reply, (*_SCRIPTED, Mapping)) or hasattr(reply, "model_dump") or callable(reply)


def _is_function(reply: object) -> bool:
    return callable(reply) and not isinstance(reply, (type, Mapping, BaseException)) and not hasattr(reply, "model_dump")
