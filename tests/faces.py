"""Both faces of a session, driven by the same blocking test."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from sessile import AsyncSession, Session

FACES = ("blocking", "awaited")


def opener(face: str, loop: asyncio.AbstractEventLoop | None = None) -> Callable[..., Any]:
    """What opens a session in a face: `Session`, or an `AsyncSession` whose verbs are awaited on one event loop."""
    if face == "blocking":
        return Session
    loop = loop or asyncio.new_event_loop()
    return lambda *args, **options: Awaited(AsyncSession(*args, **options), loop)


class Awaited:
    """An `AsyncSession` with the look of a `Session`: what it returns to be awaited is awaited on an event loop."""

    def __init__(self, session: AsyncSession, loop: asyncio.AbstractEventLoop) -> None:
        self.__dict__.update(awaited=session, _loop=loop)
        loop.run_until_complete(session.__aenter__())

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.awaited, name)
        return functools.partial(self._call, found) if inspect.ismethod(found) else self._settled(found)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "state" or not hasattr(self.awaited, f"set_{name}"):
            raise AttributeError(name)
        self._settled(getattr(self.awaited, f"set_{name}")(value))

    def _call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(value.awaited if isinstance(value, Awaited) else value for value in args)
        return self._settled(method(*args, **kwargs))

    def _settled(self, value: Any) -> Any:
        if inspect.isasyncgen(value):
            return self._loop.run_until_complete(_listed(value))
        if inspect.iscoroutine(value):
            value = self._loop.run_until_complete(value)
        return Awaited(value, self._loop) if isinstance(value, AsyncSession) else value


async def _listed(values: Any) -> list[Any]:
    return [value async for value in values]
