"""The two ways the engine is driven. It is written once, as `async def`; a face serves what it awaits.

`Blocking` calls blocking plugins directly: the coroutine never suspends, and `run` is one `send(None)`; what an
async-only plugin returns is awaited on a background event loop. `Awaiting` awaits async plugins and runs blocking ones
in worker threads, so that the event loop is never held up.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sessile.errors import SessileError

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")


class Face(Protocol):
    """How the engine calls what plugins gave it."""

    def native(self, store: Any) -> Any:
        """The face of a store that this one calls: its `asynchronous` one, if it has one and this one awaits."""

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a blocking or async function and return its result."""

    async def settle(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """As `call`, but a cancellation waits until the outcome is known."""

    async def pause(self, seconds: float) -> None:
        """Wait."""

    def proceed(self, caller: Callable[..., Any], step: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        """`step` in the form that `caller` can call: plain for a blocking one, awaitable for an async one."""


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run an engine coroutine that never suspends, in this thread, without an event loop."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("an engine coroutine suspended under the blocking face: await plugins through face.call only")


def is_async(fn: Callable[..., Any]) -> bool:
    """Is this an `async def`, or an object whose call is one?"""
    fn = inspect.unwrap(fn.func if isinstance(fn, functools.partial) else fn)
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


class Blocking:
    """The face of `Session`."""

    def native(self, store: Any) -> Any:
        return store

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        result = fn(*args, **kwargs)
        return background(result) if hasattr(type(result), "__await__") else result

    settle = call

    async def pause(self, seconds: float) -> None:
        time.sleep(seconds)

    def proceed(self, caller: Callable[..., Any], step: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        if not is_async(caller):
            return lambda *args: run(step(*args))

        async def awaited(*args: Any) -> Any:  # on the background loop, which the rest of the turn must not hold up
            import asyncio

            return await asyncio.to_thread(lambda: run(step(*args)))

        return awaited


class Awaiting:
    """The face of `AsyncSession`."""

    def native(self, store: Any) -> Any:
        return getattr(store, "asynchronous", store)

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        import asyncio

        if is_async(fn):
            return await fn(*args, **kwargs)
        result = await asyncio.to_thread(fn, *args, **kwargs)
        return await result if hasattr(type(result), "__await__") else result

    async def settle(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        import asyncio

        task = asyncio.ensure_future(self.call(fn, *args, **kwargs))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError:
                    continue  # cancelled again: the write still has to end first
            task.exception()  # seen: the cancellation is what the caller hears of
            raise

    async def pause(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    def proceed(self, caller: Callable[..., Any], step: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Any]:
        import asyncio

        if is_async(caller):
            return step
        loop = asyncio.get_running_loop()
        return lambda *args: asyncio.run_coroutine_threadsafe(step(*args), loop).result()


_loop_lock = threading.Lock()
_loop: Any = None
_thread: threading.Thread | None = None


def background(awaitable: Awaitable[T]) -> T:
    """Wait for something on the background event loop and return its result."""
    if _thread is threading.current_thread():
        if inspect.iscoroutine(awaitable):
            awaitable.close()
        raise SessileError(
            "async code that a blocking session is waiting for used a blocking session whose store is async, which would wait "
            "for itself: use an AsyncSession there, or a blocking store"
        )
    future = _submit(awaitable)
    try:
        result: T = future.result()
        return result
    except BaseException:
        future.cancel()
        raise


async def on_background(awaitable: Awaitable[T]) -> T:
    """Await something on the background event loop, from whichever loop: for clients that must stay in one."""
    import asyncio

    if asyncio.get_running_loop() is _loop:
        return await awaitable
    result: T = await asyncio.wrap_future(_submit(awaitable))
    return result


def _submit(awaitable: Awaitable[Any]) -> Any:
    """Hand something to the background event loop, which is started when first needed."""
    import asyncio

    global _loop, _thread
    with _loop_lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            _thread = threading.Thread(target=_loop.run_forever, name="sessile-background", daemon=True)
            _thread.start()

    async def awaited() -> Any:
        return await awaitable

    return contextvars.copy_context().run(asyncio.run_coroutine_threadsafe, awaited(), _loop)


class HasHandle(Protocol):
    _handle: Any


def blocking(verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Any, P], T]:
    """A verb of the engine (an async function of a handle) as a plain method of `Session`."""

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(verb(self._handle, *args, **kwargs))

    return method


def awaited(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """A verb of the engine as an async method of `AsyncSession`."""

    @functools.wraps(verb)
    async def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await verb(self._handle, *args, **kwargs)

    return method
