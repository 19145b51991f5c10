"""What a model answers, as one message: the whole, or what its pieces, emitted as they come, are put together to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import attrs

from sessile.conversation.foreign import joined, to_plain
from sessile.conversation.messages import Message, as_reply
from sessile.conversation.model import Request
from sessile.conversation.turn import Turn
from sessile.drive.faces import Face
from sessile.drive.shown import shorten
from sessile.errors import InvalidMessage, ModelError
from sessile.log.encoding import json_value


async def answer(face: Face, model: Any, request: Request, turn: Turn) -> Message:
    """Ask a model. `ModelError` for a piece that is none, what the model raises else."""
    found = await face.call(model.generate, request)
    if not isinstance(found, (Iterator, AsyncIterator)):
        return as_reply(found)
    pieces = _Pieces(turn)
    try:
        await face.call(pieces.take if isinstance(found, Iterator) else pieces.take_async, found)
    finally:
        pieces.over = True  # a worker thread may still wait for the next piece
    return pieces.reply()


@attrs.define
class _Pieces:
    """The pieces of an answer up to now. over: nobody waits for more of them."""

    turn: Turn
    texts: list[str] = attrs.field(factory=list)
    rest: dict[str, Any] = attrs.field(factory=dict)
    over: bool = False

    def take(self, pieces: Iterator[Any]) -> None:
        """All that a generator yields, and what it returns."""
        try:
            while not self.over:
                try:
                    piece = next(pieces)
                except StopIteration as end:
                    if end.value is not None:
                        self.add(end.value)
                    break
                self.add(piece)
        finally:
            if close := getattr(pieces, "close", None):
                close()

    async def take_async(self, pieces: AsyncIterator[Any]) -> None:
        try:
            async for piece in pieces:
                self.add(piece)
        finally:
            if close := getattr(pieces, "aclose", None):
                await close()

    def add(self, piece: Any) -> None:
        if isinstance(piece, str):
            if piece:
                if self.turn.streaming:
                    self.turn.emit(piece)
                self.texts.append(piece)
            return
        said = to_plain(piece)
        if not _is_rest(said):
            raise ModelError(
                f"a model yields pieces of text, and dicts that say the rest of its message, not {shorten(piece)}: yield "
                "{'tool_calls': […]}, {'metadata': {…}}, or text"
            )
        metadata = _merged(self.rest.get("metadata"), json_value(said.get("metadata"), "metadata", InvalidMessage))
        content = said["content"] if said.get("content") is not None else self.rest.get("content")
        self.rest = {**joined(self.rest, said), "content": content, "metadata": metadata}
        self.turn.reported = metadata.get("usage")

    def reply(self) -> Message:
        """All of it."""
        text = "".join(self.texts)
        return as_reply({**self.rest, "content": text if self.rest.get("content") is None else self.rest["content"]})


def _is_rest(said: object) -> bool:
    return (
        isinstance(said, Mapping)
        and said.get("role", "assistant") == "assistant"
        and isinstance(said.get("metadata") or {}, Mapping)
        and isinstance(said.get("tool_calls") or [], (list, tuple))
        and isinstance(said.get("content") or "", (str, list, tuple))
    )


def _merged(first: Any, then: Any) -> dict[str, Any]:
    """The metadata of an answer that says more than once what it took: the last of each number counts."""
    found = {**(first or {}), **(then or {})}
    usages = [about["usage"] for about in (first, then) if about and isinstance(about.get("usage"), Mapping)]
    return {**found, "usage": {name: value for usage in usages for name, value in usage.items()}} if len(usages) > 1 else found
