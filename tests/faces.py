"""Both faces of a session, driven by the same blocking test."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import Any

from sessile import AsyncSession, AsyncSessionManager, Session, SessionManager

FACES = ("blocking", "awaited")


def opener(face: str, loop: asyncio.AbstractEventLoop | None = None) -> Callable[..., Any]:
    """What opens a session in a face: `Session`, or an `AsyncSession` whose verbs are awaited on one event loop."""
    if face == "blocking":
        return Session
    loop = loop or asyncio.new_event_loop()
    return lambda *args, **options: Awaited(AsyncSession(*args, **options), loop)


def manager_opener(face: str, loop: asyncio.AbstractEventLoop | None = None) -> Callable[..., Any]:
    """The same for a manager."""
    if face == "blocking":
        return SessionManager
    loop = loop or asyncio.new_event_loop()
    return lambda *args, **options: Awaited(AsyncSessionManager(*args, **options), loop)


class Awaited:
    """An `AsyncSession`, or a manager, with the look of a blocking one: what is to be awaited is awaited on an event loop."""

    def __init__(self, target: AsyncSession | AsyncSessionManager, loop: asyncio.AbstractEventLoop) -> None:
        self.__dict__.update(awaited=target, _loop=loop)
        loop.run_until_complete(target.__aenter__())

    def __enter__(self) -> Awaited:
        return self

    def __exit__(self, *_: object) -> None:
        self._settled(self.awaited.close())

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
        if isinstance(value, list):
            return [self._settled(item) for item in value]
        return Awaited(value, self._loop) if isinstance(value, (AsyncSession, AsyncSessionManager)) else value


async def _listed(values: Any) -> list[Any]:
    return [value async for value in values]
