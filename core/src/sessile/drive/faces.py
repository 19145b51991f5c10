"""The two ways the engine is driven. It is written once, as `async def`; a face serves what it awaits.

`Blocking` calls blocking plugins directly: the coroutine never suspends, and `run` is one `send(None)`; what an
async-only plugin returns is awaited on a background event loop. `Awaiting` awaits async plugins and runs blocking ones
in worker threads (see `threads.py`), so that the event loop does not wait for them.

A layer of middleware waits for all that is inside of it. Nobody may wait there for a thread that a layer holds, and a
cancelled layer must not leave its inside running. Two decisions follow:

- A blocking layer of an async turn has a thread of its own, and calls its inside as a task of the event loop. The inside
  ends with its layer: when the layer is cancelled, or returns early, the task is cancelled and waited for (`inside.py`).
- A blocking turn with an async layer cannot be cancelled from that layer, as its inside would be plain calls in some
  thread. So its onion runs on the background event loop, as an async turn does, while the caller's thread waits (see
  `turns.py`). There is one way to mix layers, whatever face the user holds.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, runtime_checkable

from sessile.drive.background import background, running_loop

if TYPE_CHECKING:
    from sessile.drive.inside import Step

T = TypeVar("T")
P = ParamSpec("P")


class Face(Protocol):
    """How the engine calls what plugins gave it. awaits: is it the async one?"""

    @property
    def awaits(self) -> bool: ...

    def native(self, store: Any) -> Any:
        """A store as this face calls it: its `asynchronous` side, or in worker threads, if this one awaits."""

    def other(self) -> Face:
        """The other face, for a view of the same session."""

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a blocking or async function and return its result."""

    async def settle(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `call`, but a cancellation waits until the outcome is known."""

    async def pause(self, seconds: float) -> None:
        """Wait."""

    async def through(self, layer: Callable[..., Any], turn: Any, step: Step) -> Any:
        """Call a layer of middleware; `step` is its inside, which it gets in the form that it can call."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run an engine coroutine that never suspends, in this thread, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError(
        "what was awaited waits for an event loop, and a blocking call has none: await it by `face.call`, which has a loop for it"
    )


def step_by_step(values: AsyncGenerator[T]) -> Iterator[T]:
    """What an engine's generator yields, each step run as `run` does; it is closed at the end.

    An event loop that may run in this thread does not hear of the generator, which it would close with itself.
    """

    async def step() -> tuple[T] | None:
        async for value in values:
            return (value,)
        return None

    def alone(work: Coroutine[Any, Any, Any]) -> Any:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, None)
        try:
            return run(work)
        finally:
            sys.set_asyncgen_hooks(*hooks)

    try:
        while (found := alone(step())) is not None:
            yield found[0]
    finally:
        alone(values.aclose())


def is_async(fn: Callable[..., Any]) -> bool:
    """Is this an `async def`, or an object whose call is one?"""
    while isinstance(fn, functools.partial):
        fn = fn.func
    code = getattr(fn, "__code__", None)
    if code is not None and not hasattr(fn, "__wrapped__"):  # nearly always: a tenth of what `inspect` takes
        return bool(code.co_flags & inspect.CO_COROUTINE)
    fn = inspect.unwrap(fn)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def is_awaitable(value: object) -> bool:
    """Can this be awaited? (Faster than `inspect.isawaitable`, for what plugins return.)"""
    return hasattr(type(value), "__await__")


def suited(fn: Callable[..., Any], value: Any) -> Any:
    """`value` for `fn` to use: a session or turn in the face that an `async def`, or a blocking function, can call."""
    view = getattr(type(value), "_seen_by", None)
    return value if view is None else view(value, is_async(fn))


class Blocking:
    """The face of `Session`. loop: where awaitables are awaited, while it runs; None: the background event loop."""

    awaits = False

    def __init__(self, loop: Any = None) -> None:
        self.loop = loop

    def native(self, store: Any) -> Any:
        return store

    def other(self) -> Face:
        return Awaiting()

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        return background(result, self.loop) if is_awaitable(result) else result

    settle = call

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    async def through(self, layer: Callable[..., Any], turn: Any, step: Step) -> Any:
        return layer(turn, lambda *args: run(step(*args)))


class Awaiting:
    """The face of `AsyncSession`."""

    awaits = True

    def native(self, store: Any) -> Any:
        native = getattr(store, "asynchronous", None)
        return _InThreads(store) if native is None else native

    def other(self) -> Face:
        return Blocking(running_loop())

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        from sessile.drive.threads import CALLS, in_thread

        if is_async(fn):
            return await fn(*args, **kwargs)
        result = await in_thread(CALLS, fn, *args, **kwargs)
        return await result if is_awaitable(result) else result

    async def settle(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        import asyncio

        from sessile.drive.inside import finished

        task = asyncio.ensure_future(self.call(fn, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            with contextlib.suppress(asyncio.CancelledError):  # cancelled again: the write still has to end first
                await finished([task])
            task.exception()  # seen: the cancellation is what the caller hears of
            raise

    async def pause(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    async def through(self, layer: Callable[..., Any], turn: Any, step: Step) -> Any:
        from sessile.drive.inside import Inside
        from sessile.drive.threads import CALLS, in_thread

        inside = Inside(step)
        try:
            if is_async(layer):
                return await layer(turn, inside.enter)
            return await in_thread(CALLS, layer, turn, inside.enter_from_thread)
        finally:
            await inside.end()


class _InThreads:
    """A store without an async side, as the async face calls it: blocking methods run in threads."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        from sessile.drive.threads import CALLS, in_thread

        method = getattr(self._store, name)
        if not callable(method) or is_async(method):
            return method
        # `wait` is all waiting: it must not keep a thread from a read
        return functools.partial(in_thread, CALLS if name == "wait" else self._store, method)


class HasHandle(Protocol):
    """What has a face's methods: they are verbs of its handle."""

    _handle: Any


@runtime_checkable
class IsSession(Protocol):
    """A session of either face. (What else has a handle, such as a manager, is seen by nobody.)"""

    _handle: Any

    def _seen_by(self, asynchronous: bool) -> Any: ...
