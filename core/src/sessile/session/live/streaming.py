"""Streaming: a turn whose answer is read piece by piece while it is made.

The turn runs beside its reader (a thread, or a task). A reader that goes away, by `close()`, Ctrl-C or a cancellation,
ends the turn; what had arrived is stored as an interrupted reply before the reader goes on. So does closing the session.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Any

from sessile.conversation.messages import Message
from sessile.drive.faces import run
from sessile.drive.once import mark
from sessile.engine.handle import Handle
from sessile.engine.turns import take_turn
from sessile.errors import Closed, TurnInterrupted

_END = object()
_own = mark("the streamed turn that this code runs in")


class Running:
    """A turn that is being streamed, for the code that closes its session."""

    def __init__(self, h: Handle, interrupt: Callable[[], bool]) -> None:
        self._h = h
        self._interrupt = interrupt
        self.closed = False  # was the session closed meanwhile?
        self.ended = threading.Event()
        h.running.add(self)

    def begin(self) -> None:
        """Say that what runs in this context is the turn."""
        _own.set(self)

    def is_own(self) -> bool:
        """Is it the turn that this very code runs in? Then it cannot be waited for."""
        return _own.get() is self

    def stop(self) -> bool:
        """Interrupt the turn, as its session is being closed; `ended` is set once what had arrived is stored.

        False where it is never set, as the event loop of the turn does not run any more.
        """
        self.closed = True
        return self._interrupt()

    def end(self) -> None:
        """Say that the turn has ended."""
        self._h.running.discard(self)
        self.ended.set()

    def rest(self, outcome: Any, silent: bool) -> Iterator[str]:
        """What is left to say at the turn's end: its error, or the whole reply where a model did not stream."""
        if isinstance(outcome, BaseException):
            if self.closed:
                raise Closed(
                    f"session {self._h.session_id!r} was closed while this reply was streamed: what had arrived is stored as an "
                    "interrupted reply"
                ) from outcome
            raise outcome
        if silent and outcome.text:
            yield outcome.text


def stream(h: Handle, question: Message, *, agent: Any = None) -> Iterator[str]:
    """Say something and get the reply in pieces of text as they arrive. The turn begins with the first `next()`."""
    pieces: queue.SimpleQueue[Any] = queue.SimpleQueue()
    gone = threading.Event()
    outcome: list[Any] = []

    def sink(piece: str) -> None:
        if gone.is_set():
            raise TurnInterrupted("the reader of the stream is gone")
        pieces.put(piece)

    def work() -> None:
        running.begin()
        try:
            outcome.append(run(take_turn(h, question, agent=agent, sink=sink, left=gone.is_set)))
        except BaseException as error:  # raised to the reader, below
            outcome.append(error)
        running.end()
        pieces.put(_END)

    def interrupt() -> bool:
        gone.set()
        return True

    running = Running(h, interrupt)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="sessile-stream")
    try:
        thread.start()
    except RuntimeError:  # no more threads can be started: `close` must not wait for this turn
        running.end()
        raise
    silent = True
    try:
        while (piece := _taken(pieces)) is not _END:
            silent = False
            yield piece
    finally:
        gone.set()
        thread.join()
    yield from running.rest(outcome[0], silent)


def _taken(pieces: queue.SimpleQueue[Any]) -> Any:
    """The next piece. Looks up each second: a signal that comes just before a thread waits wakes nobody."""
    while True:
        with suppress(queue.Empty):
            return pieces.get(timeout=1)


async def astream(h: Handle, question: Message, *, agent: Any = None) -> AsyncIterator[str]:
    """As `stream`, for `async for`.

    Python closes an async generator that is left by `break` a moment later; `contextlib.aclosing` does it at once, and
    closing the session waits for it.
    """
    import asyncio

    from sessile.drive.inside import finished

    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Any] = asyncio.Queue()
    gone = False

    def sink(piece: str) -> None:  # a blocking model calls it from a worker thread
        if gone:
            raise TurnInterrupted("the reader of the stream is gone")
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    async def work() -> Any:
        running.begin()
        return await take_turn(h, question, agent=agent, sink=sink)

    def end(_: Any) -> None:
        running.end()
        loop.call_soon(pieces.put_nowait, _END)

    def interrupt() -> bool:
        if loop.is_running():
            loop.call_soon_threadsafe(task.cancel)
        return loop.is_running()

    running = Running(h, interrupt)  # before the task, as not every session can be streamed
    task = asyncio.ensure_future(work())
    task.add_done_callback(end)
    silent = True
    try:
        while (piece := await pieces.get()) is not _END:
            silent = False
            yield piece
    finally:
        gone = True
        if not task.done():
            task.cancel()
            await finished([task])  # whoever cancels this, too, hears of it once the turn has ended
    outcome = TurnInterrupted("the turn was cancelled") if task.cancelled() else task.exception() or task.result()
    for piece in running.rest(outcome, silent):
        yield piece
