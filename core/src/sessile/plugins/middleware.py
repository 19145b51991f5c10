"""Middleware: an onion around each turn.

`def mw(turn, call_next) -> reply`, blocking or `async def`: change `turn` before, the reply after, or answer without
calling on. What is passed down is what is stored and sent; what is returned is what is stored as the reply. The form
`def mw(message, response) -> response` sees both texts once the reply is there, and is known by those two names.

A layer may call `call_next(turn)` again, to try again or to ask another agent (`turn.agent = …`), once the call before it
has ended. The next call goes on from all that the turn has stored:

- The question is not stored again. A question that the layer changed meanwhile is stored behind the first one.
- The tool calls of the earlier attempt, and their results, stay and are sent: what a tool did, the model knows. A call
  that was cut off gets a result that says so.
- The reader of a stream keeps what the earlier attempt had sent, and gets the next one's text behind it.

A layer that ends, or is cancelled, ends what is still running inside of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Protocol

from sessile.conversation.messages import Message
from sessile.conversation.taking import as_reply
from sessile.conversation.turn import Turn
from sessile.drive.arguments import Unchecked
from sessile.drive.faces import Face, is_awaitable, suited
from sessile.errors import InvalidInput

Reply = str | Mapping[str, Any]


class CallNext(Protocol):
    """What a blocking middleware calls on with; without a turn it is the one that it was given."""

    def __call__(self, turn: Turn = ..., /) -> Message: ...


class AwaitNext(Protocol):
    """The same for one that is `async def`."""

    def __call__(self, turn: Turn = ..., /) -> Awaitable[Message]: ...


Middleware = Annotated[
    Callable[[Turn, CallNext], Reply]
    | Callable[[Turn, AwaitNext], Awaitable[Reply]]
    | Callable[[str, str], Reply | None]  # (message, response)
    | Callable[[str, str], Awaitable[Reply | None]],
    Unchecked,
]


async def run_onion(face: Face, layers: Sequence[Callable[..., Any]], turn: Any, inner: Callable[[Any], Any]) -> Message:
    """Pass a turn through the layers, outermost first, to `inner` (async) and its reply back through them."""
    if not layers:
        reply: Message = await inner(turn)
        return reply
    layer, rest = layers[0], layers[1:]
    below: list[Message] = []

    async def step(passed: Any = turn) -> Message:
        if not turn.is_same(passed):
            raise InvalidInput(
                f"middleware {_name(layer)} passed {passed!r:.60} on: pass the turn it was given, changed in place"
            )
        if not isinstance(turn.message, Message):
            raise InvalidInput(
                f"middleware {_name(layer)} set turn.message to {turn.message!r:.60}, which is no Message: set turn.content, "
                "or use turn.message.replace(…)"
            )
        below[:] = [await run_onion(face, rest, turn, inner)]
        return below[0]

    if _takes_response(layer):
        reply = await step()
        answer = await face.call(layer, turn.message.text, reply.text)
        return reply if answer is None else as_reply(answer, like=reply)
    answer = await face.through(layer, suited(layer, turn), step)
    if answer is None:
        raise InvalidInput(f"middleware {_name(layer)} returned None: return the reply, such as `return call_next(turn)`")
    if is_awaitable(answer):
        getattr(answer, "close", lambda: None)()
        raise InvalidInput(f"middleware {_name(layer)} returned something to be awaited: write it as `async def`")
    return as_reply(answer, like=below[0] if below else None)


def check(layer: object) -> Callable[..., Any]:
    """A middleware as given, or `InvalidInput` where it cannot be one."""
    if not callable(layer):
        raise InvalidInput(f"middleware is {layer!r:.60}, which is no function: pass one of (turn, call_next)")
    names = _parameter_names(layer)
    if len(names) != 2:
        raise InvalidInput(f"middleware {_name(layer)} takes {names}: write it as (turn, call_next) or (message, response)")
    return layer


def _takes_response(layer: Callable[..., Any]) -> bool:
    return _parameter_names(layer) == ["message", "response"]


def _parameter_names(layer: Callable[..., Any]) -> list[str]:
    parameters = inspect.signature(layer).parameters.values()
    return [p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _name(layer: Callable[..., Any]) -> str:
    return getattr(layer, "__name__", repr(layer))
