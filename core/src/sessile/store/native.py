"""Base for stores whose client library has both a blocking and an async API. The logic is written once, as `async def`.

A subclass of `NativeStore` makes an engine for either face. An engine has the methods of a store as `async def`, and
calls its client as `await maybe(client.get(key))`, which is right for both. Blocking, it never suspends; async, it
lives on sessile's background event loop, so that one pool of connections serves every loop of the process.
"""

from __future__ import annotations

import os
import threading
import weakref
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Protocol, TypeAlias, TypeVar

from sessile.drive.background import background, on_background
from sessile.drive.faces import run
from sessile.errors import Closed, InvalidInput
from sessile.log.encoding import JSON
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.store.addresses import check_address, shown
from sessile.store.waist import Page, Query

T = TypeVar("T")
_Engines: TypeAlias = "dict[tuple[int, bool], Engine]"  # (process, is it async) -> engine: a child makes its own


async def maybe(result: Awaitable[T] | T) -> T:
    """What a client's method returned, awaited where it is the async client's."""
    return await result if isinstance(result, Awaitable) else result


class Guard:
    """A lock for either face, so that what is done at the first use is done once: `async with guard: …`."""

    def __init__(self, asynchronous: bool) -> None:
        if asynchronous:
            import asyncio  # only here: a blocking program needs none

            self._lock: Any = asyncio.Lock()
        else:
            self._lock = threading.Lock()

    async def __aenter__(self) -> None:
        await maybe(self._lock.acquire())

    async def __aexit__(self, *_: object) -> None:
        self._lock.release()


class Engine(Protocol):
    """The methods of a store, as `async def`."""

    async def load(self, session_id: str) -> Header | None: ...
    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]: ...
    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None: ...
    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]: ...
    async def find(self, query: Query) -> Page[Header]: ...
    async def delete(self, session_id: str, *, expected: int | None) -> None: ...
    async def prune(self, log: str, keep: int) -> None: ...
    async def touch(self, log: str, until: float | None) -> None: ...
    async def logs(self) -> list[str]: ...
    async def wait(self, session_id: str, version: int, timeout: float) -> None: ...
    async def check(self, repair: bool) -> dict[str, JSON]: ...
    async def close(self) -> None: ...


class NativeStore(ABC):
    """The base of such stores. An `AsyncSession` uses `asynchronous` by itself.

    url: the server's address. pool_size: connections at most. timeout: seconds for every answer, and for connecting.
    `InvalidInput` where one of them cannot be used.
    """

    ttl: float | None = None  # seconds after its last change that a session expires; None: never
    schemes: ClassVar[tuple[str, ...]]
    example: ClassVar[str]  # of an address, for who wrote another one

    def __init__(self, url: str, *, pool_size: int, timeout: float) -> None:
        check_address(url)
        if url.partition(":")[0] not in self.schemes:
            raise InvalidInput(f"{shown(url)!r} is no address for {type(self).__name__}: write {self.example}")
        if pool_size < 1:
            raise InvalidInput(f"pool_size is {pool_size!r}: at least one connection is needed")
        if not 0 < timeout <= threading.TIMEOUT_MAX:
            raise InvalidInput(f"timeout is {timeout!r}: give seconds above 0, and at most {threading.TIMEOUT_MAX:.0f}")
        self.url = url
        self.pool_size = pool_size
        self.timeout = timeout
        self._engines: _Engines = {}
        self._locks: dict[int, threading.Lock] = {}
        self._closed = False
        weakref.finalize(self, _close_left, self._engines)  # the blocking ones of a store that nobody closed

    @property
    def asynchronous(self) -> _Asynchronous:
        """The same methods, to be awaited."""
        return _Asynchronous(self)

    @abstractmethod
    def make_engine(self, asynchronous: bool) -> Engine:
        """A new engine on a blocking or an async client, not connected yet."""

    def engine(self, asynchronous: bool) -> Engine:
        """The engine for a face. `Closed` after `close`."""
        if self._closed:
            raise Closed(f"{self!r} is closed: make a new one")
        key = os.getpid(), asynchronous
        found = self._engines.get(key)
        if found is None:
            with self._locks.setdefault(key[0], threading.Lock()):  # another's may be held in a process that was forked
                found = self._engines.get(key) or self.make_engine(asynchronous)
                self._engines[key] = found
        return found

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        """What a call of the blocking engine returns. Where Ctrl-C or a signal's handler interrupts it, the next gets a new one.

        The client's library may be left with a lock held for ever: only `with` on a plain lock is safe from a signal. So
        closing it may hang, too.
        """
        try:
            return run(call)
        except Exception:
            raise
        except BaseException:
            if (engine := self._engines.pop((os.getpid(), False), None)) is not None:
                with suppress(RuntimeError):  # no thread begins while Python ends
                    threading.Thread(target=_close_quietly, args=(engine,), daemon=True).start()
            raise

    def load(self, session_id: str) -> Header | None:
        return self._run(self.engine(False).load(session_id))

    def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        return self._run(self.engine(False).load_last(session_id, count))

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        self._run(self.engine(False).commit(session_id, expected=expected, entries=entries, changes=changes))

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        return self._run(self.engine(False).read(log, start, stop, kind))

    def find(self, query: Query) -> Page[Header]:
        return self._run(self.engine(False).find(query))

    def delete(self, session_id: str, *, expected: int | None) -> None:
        self._run(self.engine(False).delete(session_id, expected=expected))

    def prune(self, log: str, keep: int) -> None:
        self._run(self.engine(False).prune(log, keep))
        self.pruned(log, keep)

    def pruned(self, log: str, keep: int) -> None:  # noqa: B027 (most have nothing to do)
        """Called after `prune` of either face, in a thread that may wait: for what a subclass keeps of a log elsewhere."""

    def touch(self, log: str, until: float | None) -> None:
        self._run(self.engine(False).touch(log, until))

    def logs(self) -> list[str]:
        return self._run(self.engine(False).logs())

    def wait(self, session_id: str, version: int, timeout: float) -> None:
        self._run(self.engine(False).wait(session_id, version, timeout))

    def check(self, repair: bool = False) -> dict[str, JSON]:
        return self._run(self.engine(False).check(repair))

    def close(self) -> None:
        """Close the connections of both faces."""
        blocking, asynchronous = self._taken()
        if blocking is not None:
            run(blocking.close())
        if asynchronous is not None:
            background(asynchronous.close())

    async def _aclose(self) -> None:
        blocking, asynchronous = self._taken()
        if blocking is not None:
            await blocking.close()
        if asynchronous is not None:
            await on_background(asynchronous.close())

    def _taken(self) -> tuple[Engine | None, Engine | None]:
        self._closed = True
        process = os.getpid()
        return self._engines.pop((process, False), None), self._engines.pop((process, True), None)


def _close_left(engines: _Engines) -> None:
    if (engine := engines.pop((os.getpid(), False), None)) is not None:
        _close_quietly(engine)


def _close_quietly(engine: Engine) -> None:
    with suppress(Exception):  # nobody is there to be told
        run(engine.close())


class _Asynchronous:
    """The async face of a `NativeStore`."""

    def __init__(self, store: NativeStore) -> None:
        self._store = store
        self.ttl = store.ttl

    async def load(self, session_id: str) -> Header | None:
        return await on_background(self._store.engine(True).load(session_id))

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        return await on_background(self._store.engine(True).load_last(session_id, count))

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        engine = self._store.engine(True)
        await on_background(engine.commit(session_id, expected=expected, entries=entries, changes=changes))

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        return await on_background(self._store.engine(True).read(log, start, stop, kind))

    async def find(self, query: Query) -> Page[Header]:
        return await on_background(self._store.engine(True).find(query))

    async def delete(self, session_id: str, *, expected: int | None) -> None:
        await on_background(self._store.engine(True).delete(session_id, expected=expected))

    async def prune(self, log: str, keep: int) -> None:
        await on_background(self._store.engine(True).prune(log, keep))
        if type(self._store).pruned is not NativeStore.pruned:
            import asyncio  # as in `Guard`

            await asyncio.to_thread(self._store.pruned, log, keep)

    async def touch(self, log: str, until: float | None) -> None:
        await on_background(self._store.engine(True).touch(log, until))

    async def logs(self) -> list[str]:
        return await on_background(self._store.engine(True).logs())

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        await on_background(self._store.engine(True).wait(session_id, version, timeout))

    async def close(self) -> None:
        await self._store._aclose()
