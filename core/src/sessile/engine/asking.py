"""Asking a model: the prompt that it is sent, and its answer as one message, whole or put together of its pieces."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

import attrs

from sessile.conversation.foreign import is_answer, joined, to_plain
from sessile.conversation.messages import Message
from sessile.conversation.model import Request
from sessile.conversation.prompt import context
from sessile.conversation.taking import as_reply
from sessile.conversation.turn import AgentLike, Turn
from sessile.drive.faces import Face, is_awaitable
from sessile.drive.shown import shorten
from sessile.engine.handle import Handle
from sessile.errors import InvalidMessage, ModelError, TurnInterrupted
from sessile.log.encoding import JSON, json_value

_SAYS = ("content", "tool_calls", "metadata")  # what a piece that is no text has at least one of


async def recall(h: Handle, turn: Turn, model: Any) -> list[Message]:
    """What plugins bring for the turn, as much as the budget has room for."""
    if not h.plugins.implementations("recall"):
        return []
    room = context.room(turn.said, **_limits(turn.agent, model))
    arguments = {"session": h.session, "turn": turn}
    found = await h.plugins.call(
        h.face, "recall", arguments, strict=h.strict, each=lambda: {"room": room.copy()}, taken=room.take
    )
    return [said for messages in found for said in messages]


async def build_prompt(h: Handle, turn: Turn, model: Any) -> list[Message]:
    """What the model is sent next: see `context.prompt`; plugins have the last word (`build_context`)."""
    window = turn.agent.window or getattr(model, "window", None) or context.WINDOW
    past = await h.past(await h.open(), window)  # no refresh: what the last commit was accepted on is the newest
    messages = context.prompt(
        [other for other in past if other.id != turn.id],
        turn.said,
        recalled=turn.recalled,
        window=window,
        **_limits(turn.agent, model),
    )
    arguments = {"session": h.session, "turn": turn}
    built: list[Message] = await h.plugins.fold(h.face, "build_context", "messages", messages, arguments, strict=h.strict)
    return built


def _limits(agent: AgentLike, model: Any) -> dict[str, Any]:
    """What a prompt of this agent for this model begins with, and how many tokens it may have."""
    return {
        "instructions": agent.instructions,
        "budget": agent.budget or getattr(model, "budget", None) or context.BUDGET,
        "count_tokens": getattr(model, "count_tokens", None) or context.estimate_tokens,
    }


async def answer(face: Face, model: Any, request: Request, turn: Turn) -> Message:
    """Ask a model. `ModelError` for a piece that is none, what the model raises else."""
    pieces = _Pieces(turn)
    if request.emit is not None:
        request = attrs.evolve(request, emit=pieces.emit)
    try:
        found = await face.call(model.generate, request)
        if isinstance(found, (Iterator, AsyncIterator)):
            await face.call(pieces.take if isinstance(found, Iterator) else pieces.take_async, found)
            return _spoken(pieces.reply())
    finally:
        pieces.over = True  # a worker thread may go on by itself
    reply = _spoken(as_reply(found))
    if turn.streaming and reply.text and not pieces.emitted and not turn.left():  # else it is whole, and nobody there to hear it
        turn.emit(reply.text)
    return reply


def _spoken(reply: Message) -> Message:
    """`ModelError` for a reply that was cut off before it said anything."""
    why = reply.metadata.get("finish_reason")
    if why and not reply.content and not reply.tool_calls:
        raise ModelError(f"the model gave no answer: {shorten(why)}")
    return reply


def whole_text(pieces: Sequence[str]) -> str:
    """The text of pieces, which may have cut a character in two."""
    return "".join(pieces).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class _Pieces:
    """The pieces of an answer up to now."""

    def __init__(self, turn: Turn) -> None:
        self.turn = turn
        self.texts: list[str] = []  # those since the last one that was a dict
        self.said: dict[str, Any] = {}
        self.over = False  # does nobody wait for more of them?
        self.emitted = False  # did the model call `request.emit`?

    def take(self, pieces: Iterator[Any]) -> None:
        """All that is yielded. What a generator returns is refused, as one that is async cannot return anything."""
        try:
            while not self.over:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    if end.value is not None:
                        raise _no_piece(end.value, "returned by a generator") from None
                    break
                if not self.over:
                    self.add(piece)
        finally:
            if close := getattr(pieces, "close", None):
                close()

    async def take_async(self, pieces: AsyncIterator[Any]) -> None:
        """The same of what is async, on the event loop: the reader, and others, have their turn behind each piece."""
        import asyncio  # a blocking program needs none

        try:
            async for piece in pieces:
                self.add(piece)
                await asyncio.sleep(0)
        finally:
            if (close := getattr(pieces, "aclose", None) or getattr(pieces, "close", None)) and is_awaitable(closed := close()):
                await closed

    def add(self, piece: Any) -> None:
        if isinstance(piece, str):
            self._emit(piece)
            self.texts.append(piece)
            return
        said = dict(_rest(piece))
        metadata = json_value(said.get("metadata"), "metadata", InvalidMessage)
        said["metadata"] = _merged(self.said.get("metadata"), metadata)
        self.turn.reported = said["metadata"].get("usage")
        if is_answer(piece):
            self._take_whole(said)
            return
        content = said.pop("content", None)
        if isinstance(content, str):
            self._emit(content)
            self.texts.append(content)
        elif content:
            self._emit(Message(content=content).text)
            self._flush()
            said["content"] = content
        self.said = joined(self.said, said)

    def _take_whole(self, said: dict[str, Any]) -> None:
        """A whole answer is all of it: it takes the place of its pieces, unless it says nothing. Its reader gets what is new."""
        before, now = self._text(), Message(content=said.get("content")).text
        if not said.get("content") and not said.get("tool_calls"):
            self.said = joined(self.said, {"metadata": said["metadata"]})
            return
        if now.startswith(before):
            self._emit(now[len(before) :])
        self.said, self.texts = said, []

    def emit(self, text: str) -> None:
        """What a model calls that returns its answer whole."""
        if self.over:
            raise TurnInterrupted("nobody waits for this answer any more")
        if text != "":
            self.emitted = True
            self.turn.emit(text)

    def _emit(self, text: str) -> None:
        if text and self.turn.streaming:
            self.turn.emit(text)

    def _text(self) -> str:
        return Message(content=self.said.get("content")).text + "".join(self.texts)

    def _flush(self) -> None:
        """Put the text since the last part behind what was said before it."""
        if text := whole_text(self.texts):
            self.said = joined(self.said, {"content": text})
        self.texts = []

    def reply(self) -> Message:
        """All of it."""
        if self.said.get("content"):
            self._flush()
            return as_reply(self.said)
        return as_reply({**self.said, "content": whole_text(self.texts)})


def _rest(piece: object) -> Mapping[str, Any]:
    """What a piece that is no text says of the message."""
    try:
        said = to_plain(piece)
    except InvalidMessage as error:
        raise _no_piece(piece) from error
    if (
        not isinstance(said, Mapping)
        or not any(name in said for name in _SAYS)
        or said.get("role", "assistant") != "assistant"
        or not isinstance(said.get("content") or "", (str, list, tuple))
        or not isinstance(said.get("tool_calls") or [], (list, tuple))
        or not isinstance(said.get("metadata") or {}, Mapping)
    ):
        raise _no_piece(piece)
    return said


def _no_piece(piece: object, what: str = "yielded by a model") -> ModelError:
    return ModelError(
        f"{shorten(piece)}, {what}, is no piece of an answer: yield text (of a chunk of OpenAI's: chunk.choices[0].delta.content "
        "or ''), or a dict that says more of the message, such as {'tool_calls': […]} or {'metadata': {…}}"
    )


def _merged(first: JSON, then: JSON) -> dict[str, Any]:
    """The metadata of an answer that says more than once what it took: the last of each number counts."""
    found = {**(first or {}), **(then or {})}
    usages = [about["usage"] for about in (first, then) if about and isinstance(about.get("usage"), Mapping)]
    return {**found, "usage": {name: value for usage in usages for name, value in usage.items()}} if len(usages) > 1 else found
