"""`load`: on a face's class it opens a saved session, on a session it reads the file into that."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar, Unpack

from sessile.drive.arguments import Arguments
from sessile.engine import lifecycle
from sessile.errors import InvalidInput
from sessile.session.agents.agent import Agent
from sessile.session.base import BaseSession, OpeningOptions
from sessile.transfer import archives

_check = Arguments(archives.load, skip=1)


R = TypeVar("R", covariant=True)


class Loading(Protocol[R]):
    """`load` of a face, or of a session."""

    def __call__(self, path: str | os.PathLike[str], **options: Unpack[OpeningOptions]) -> R: ...


class Load(Generic[R]):
    """`load` as a face has it. drive: what makes the engine's coroutine the face's result."""

    def __init__(self, drive: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._drive = drive

    def __get__(self, session: BaseSession | None, cls: type[BaseSession]) -> Loading[R]:
        def load(path: str | os.PathLike[str], **options: Unpack[OpeningOptions]) -> Any:
            """Read a file that `save` or `export` wrote. FileNotFoundError, or `UnsafeFile` for anything but our own format.

            On the class: opens the session in its store (`options` are those of `Session`), where what was said since
            the file was saved counts no more but stays in the log. On a session: makes the file's content its own.
            An exported session must be new there, otherwise it raises `SessionExists`.
            """
            _check((path,), {})
            if session is not None and options:
                raise InvalidInput(f"session.load(path) takes no {', '.join(options)}: Session.load(path, …) opens a session")
            return self._drive(_opened(cls, path, options) if session is None else _filled(session, path))

        return load


async def _filled(session: BaseSession, path: str | os.PathLike[str]) -> BaseSession:
    await archives.load(session._handle, path)
    return session


async def _opened(cls: type[BaseSession], path: str | os.PathLike[str], options: OpeningOptions) -> BaseSession:
    about = await cls._face().call(archives.about, path)
    agent = about.pop("agent")
    session = cls(**{**about, "agent": Agent(**agent) if agent else None, **options})
    try:
        return await _filled(session, path)
    except BaseException:
        await lifecycle.close(session._handle)
        raise
