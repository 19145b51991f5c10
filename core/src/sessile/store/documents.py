"""Document-style stores: `save`, `get`, `delete`, `list_for_user` of whole sessions, adapted to the store waist.

What it costs: every commit hands over the whole session, so the cost of a message grows with the conversation. The four
methods cannot compare and set, so what a store promises to many writers holds within one process and event loop only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Protocol
from weakref import WeakValueDictionary

from sessile.drive.faces import is_awaitable
from sessile.drive.locks import new_lock
from sessile.errors import Closed, CorruptStore, InvalidInput
from sessile.log.encoding import JSON
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.log.ids import RESERVED, owner_of
from sessile.store.memory import HeldSession
from sessile.store.waist import Page, Query, conflict, whole

if TYPE_CHECKING:
    import asyncio


METHODS = ("save", "get", "delete", "list_for_user")  # that make an object a document-style store


class SessionStore(ABC):
    """The simplest store to write: four async methods over whole sessions. Subclass it and pass an instance as `store=`.

    `session.to_dict()` is a session as JSON values, and `Session.from_dict(data)` makes one of them.
    """

    @abstractmethod
    async def save(self, session: Any) -> None:
        """Keep a `Session`, in place of what is kept under its session_id."""

    @abstractmethod
    async def get(self, session_id: str) -> Any:
        """The `Session` kept under this id, or None."""

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Remove what is kept under this id; no error where there is nothing."""

    @abstractmethod
    async def list_for_user(self, user_id: str) -> list[Any]:
        """The sessions of a user."""


class Documents(Protocol):
    """A document-style store, whether or not it is a subclass of `SessionStore`."""

    def save(self, session: Any, /) -> Awaitable[Any]: ...

    def get(self, session_id: str, /) -> Awaitable[Any]: ...

    def delete(self, session_id: str, /) -> Awaitable[Any]: ...

    def list_for_user(self, user_id: str, /) -> Awaitable[Any]: ...


def is_document_store(store: object) -> bool:
    """Has this object the four methods?"""
    return all(callable(getattr(store, name, None)) for name in METHODS)


class _Document(HeldSession):
    """What one document holds: a header and its own log, as much as is kept of that."""

    own_log_only = verbatim = True

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        entries = self.entries(log)[start : max(start, stop)]
        return [entry for entry in entries if kind is None or entry.kind == kind]


class _Locks:
    """One writer of a session at a time, in this process and event loop, whoever has adapted the document store."""

    # by id(documents), which live as long as their adapters
    _all: ClassVar[WeakValueDictionary[int, _Locks]] = WeakValueDictionary()
    _guard = new_lock()

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str], asyncio.Lock] = WeakValueDictionary()

    @classmethod
    def of(cls, documents: Any) -> _Locks:
        """Those of a document store."""
        with cls._guard:
            return cls._all.setdefault(id(documents), cls())

    def lock(self, session_id: str) -> asyncio.Lock:
        """The lock of a session, which is there as long as somebody holds it or waits for it."""
        import asyncio  # only here: a blocking program needs none

        key = asyncio.get_running_loop(), session_id
        with self._guard:
            return self._locks.setdefault(key, asyncio.Lock())


class DocumentStore:
    """The store waist over a document-style store. A log that outlives its session is a document `~log:<log>`."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self._locks = _Locks.of(documents)
        self._closed = False

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DocumentStore) and other._documents is self._documents

    def __hash__(self) -> int:
        return id(self._documents)

    async def load(self, session_id: str) -> Header | None:
        held = await self._held(session_id)
        return held.load(session_id) if held else None

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        async with self._locks.lock(session_id):
            held = await self._held(session_id) or _Document()
            held.commit(session_id, expected=expected, entries=entries, changes=changes)
            await self._keep(session_id, held)

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        for name in (owner_of(log), _kept(log)):
            held = await self._held(name)
            if held is not None and (entries := held.entries(log)):
                return whole(entries[start : max(start, stop)], log, start, stop, kind)
        return whole([], log, start, stop)

    async def find(self, query: Query) -> Page[Header]:
        self._check_open()
        if query.user_id is None:
            raise InvalidInput(
                "this store lists the sessions of one user only, by list_for_user: pass a user_id, or use manager.user(…)"
            )
        headers = []
        for session in await self._documents.list_for_user(query.user_id):
            header = await self.load(session.session_id)
            headers += [header] if header else []
        return Page.select(headers, query)

    async def delete(self, session_id: str, *, expected: int | None) -> None:
        async with self._locks.lock(session_id):
            try:
                held = await self._held(session_id)
            except CorruptStore:
                if expected is not None:
                    raise
                return await self._documents.delete(session_id)  # type: ignore[no-any-return]
            header = held.load(session_id) if held else None
            if held is None or header is None or header.version != expected:
                raise conflict(session_id, expected, header)
            if entries := held.entries(header.log):
                kept = _Document()
                about = Header(session_id=_kept(header.log), log=header.log, version=1, head=len(entries))
                kept.commit(about.session_id, expected=0, entries=entries, changes=about.to_dict())
                await self._keep(about.session_id, kept)
            await self._documents.delete(session_id)

    async def prune(self, log: str, keep: int) -> None:
        async with self._locks.lock(owner_of(log)):
            for name in (owner_of(log), _kept(log)):
                held = await self._held(name)
                if held is None or len(held.entries(log)) <= keep:
                    continue
                held.prune(log, keep)
                if keep or name == owner_of(log):
                    await self._keep(name, held)
                else:
                    await self._documents.delete(name)

    async def close(self) -> None:
        self._closed = True
        close = getattr(self._documents, "close", None)
        result: Any = close() if close else None
        if is_awaitable(result):
            await result

    async def _held(self, session_id: str) -> _Document | None:
        """A copy of what is kept, in a store of its own."""
        self._check_open()
        try:
            session = await self._documents.get(session_id)
        except InvalidInput as error:  # of Session.from_dict
            raise CorruptStore(
                f"the document of session {session_id!r} cannot be read ({error}): restore it, or delete it"
            ) from error
        if session is None:
            return None
        if not hasattr(session, "to_dict"):
            raise CorruptStore(f"get({session_id!r}) returned {session!r:.60}: return the Session, or None")
        data = session.to_dict()
        held = _Document()
        entries = [Entry.from_dict(entry) for entry in data["entries"]]
        held.commit(session_id, expected=0, entries=entries, changes={**data["header"], "session_id": session_id})
        return held

    def _check_open(self) -> None:
        if self._closed:
            raise Closed("this store is closed: pass the document store to a new Session or SessionManager")

    async def _keep(self, session_id: str, held: _Document) -> None:
        # by its name, as what plugins register: sessions are in a layer above this one
        session_over = import_module("sessile.session.blocking").session_over
        await self._documents.save(session_over(held, session_id))


def _kept(log: str) -> str:
    return f"{RESERVED}log:{log}"
