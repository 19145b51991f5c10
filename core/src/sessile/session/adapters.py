"""Methods for both faces, written once: for adapters to frameworks whose interfaces have each method twice."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sessile.drive.arguments import Duration
from sessile.drive.faces import Awaiting, Blocking, is_async, run
from sessile.engine.handle import Handle
from sessile.errors import InvalidInput
from sessile.session.agents.agent import AsyncAgent
from sessile.session.asynchronous import AsyncSession
from sessile.session.base import BaseSession
from sessile.session.blocking import Session
from sessile.session.live.exclusive import Lease

T = TypeVar("T")
P = ParamSpec("P")


class AdapterFace(Protocol):
    """What an adapter's method does its work with, in whichever of its two forms it was called.

    Session: opens a session (the arguments are those of `sessile.Session`) whose methods are awaited, as an `AsyncSession`'s are.
    """

    @property
    def Session(self) -> type[AsyncSession]: ...

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call a blocking function: here, or in a worker thread where an event loop runs."""


def both_faces(
    method: Callable[Concatenate[Any, AdapterFace, P], Coroutine[Any, Any, T]],
) -> tuple[Callable[Concatenate[Any, P], T], Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]]:
    """A blocking method and an async one, of a method that is written once: `put, aput = both_faces(_put)`.

    method: `async def _put(self, face, …)`. In it, await only `face.call` and methods of sessions that `face.Session` opened (see
    `AdapterFace`): the blocking method then needs no event loop, and any other `await` raises RuntimeError.
    `InvalidInput` for what is no `async def`.
    """
    if not is_async(method):
        raise InvalidInput(f"{method!r:.80} is no async function: write `async def method(self, face, …)`")

    def blocking(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(self, _BlockingFace(), *args, **kwargs))

    async def awaited(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await method(self, _AwaitingFace(), *args, **kwargs)

    return _named(blocking, method), _named(awaited, method, "a")


def _named(form: Any, method: Callable[..., Any], before: str = "") -> Any:
    """One of the two, with the name, text and signature of what was written, without its face."""
    functools.update_wrapper(form, method)
    del form.__wrapped__  # else `inspect` takes a blocking one for an async function
    name = before + method.__name__.removeprefix("_")
    form.__name__, form.__qualname__ = name, method.__qualname__.removesuffix(method.__name__) + name
    signature = inspect.signature(method)
    me, _face, *others = signature.parameters.values()
    form.__signature__ = signature.replace(parameters=[me, *others])
    return form


class _ImmediateLease(Lease):
    """A blocking session's lease, whose methods are awaited."""

    async def acquire(self) -> None:
        await self._acquire()

    async def release(self) -> None:
        await self._release()

    async def renew(self) -> None:
        await self._renew()

    async def __aenter__(self) -> Lease:
        await self._acquire()
        return self


class _Immediate(AsyncSession):
    """A blocking session whose methods are awaited, and are done at once."""

    _face = Blocking  # type: ignore[assignment]

    def __init__(self, *args: Any, **options: Any) -> None:
        self._become(Session(*args, **options))

    def _default_agent(self) -> AsyncAgent:
        return AsyncAgent(session=self)

    def _become(self, of: BaseSession) -> None:
        self.__dict__ = of.__dict__

    @classmethod
    def _opened(cls, handle: Handle) -> AsyncSession:
        session = object.__new__(cls)
        session._become(handle.session)
        return session

    @property
    def blocking(self) -> Session:
        """The same session, without `await`."""
        session: Session = self._handle.session
        return session

    def exclusive(self, timeout: Duration = 30, *, lease: Duration = 30) -> Lease:
        return _ImmediateLease(self._handle, timeout, lease)

    async def stream(self, *args: Any, **options: Any) -> AsyncIterator[str]:
        for piece in self.blocking.stream(*args, **options):
            yield piece

    async def watch(self, *args: Any, **options: Any) -> AsyncIterator[Any]:
        for said in self.blocking.watch(*args, **options):
            yield said


class _BlockingFace(Blocking):
    Session = _Immediate


class _AwaitingFace(Awaiting):
    Session = AsyncSession
