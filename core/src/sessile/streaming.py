"""Streaming: a turn whose answer is read piece by piece while it is made.

The turn runs beside its reader (a thread, or a task). A reader that goes away, by `close()`, Ctrl-C or a cancellation,
ends the turn; what had arrived is stored as an interrupted reply before the reader goes on.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

from sessile.drive import run
from sessile.errors import TurnInterrupted
from sessile.handle import Handle
from sessile.turn import take_turn

_END = object()


def stream(h: Handle, content: Any, *, agent: Any = None, **metadata: Any) -> Iterator[str]:
    """Say something and get the reply in pieces of text as they arrive. The turn begins with the first `next()`."""
    pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
    gone = threading.Event()
    outcome: list[Any] = []

    def sink(piece: str) -> None:
        if gone.is_set():
            raise TurnInterrupted("the reader of the stream is gone")
        pieces.put(piece)

    def work() -> None:
        try:
            outcome.append(run(take_turn(h, content, agent=agent, sink=sink, metadata=metadata)))
        except BaseException as error:  # raised to the reader, below
            outcome.append(error)
        pieces.put(_END)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="sessile-stream")
    thread.start()
    silent = True
    try:
        while (piece := pieces.get()) is not _END:
            silent = False
            yield piece
    finally:
        gone.set()
        thread.join()
    yield from _rest(outcome[0], silent)


async def astream(h: Handle, content: Any, *, agent: Any = None, **metadata: Any) -> AsyncIterator[str]:
    """As `stream`, for `async for`.

    Python closes an async generator that is left by `break` a moment later; `contextlib.aclosing` does it at once, and
    closing the session waits for it.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Any] = asyncio.Queue()
    gone = False

    def sink(piece: str) -> None:  # a blocking model calls it from a worker thread
        if gone:
            raise TurnInterrupted("the reader of the stream is gone")
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    task = asyncio.ensure_future(take_turn(h, content, agent=agent, sink=sink, metadata=metadata))
    h.running.add(task)
    task.add_done_callback(h.running.discard)
    task.add_done_callback(lambda _: loop.call_soon(pieces.put_nowait, _END))
    silent = True
    try:
        while (piece := await pieces.get()) is not _END:
            silent = False
            yield piece
    finally:
        gone = True
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    outcome = task.exception() or task.result()
    for piece in _rest(outcome, silent):
        yield piece


def _rest(outcome: Any, silent: bool) -> Iterator[str]:
    """What is left to say at a turn's end: its error, or the whole reply where a model did not stream."""
    if isinstance(outcome, BaseException):
        raise outcome
    if silent and outcome.text:
        yield outcome.text
