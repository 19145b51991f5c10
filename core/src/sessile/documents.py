"""Document-style stores: `save`, `get`, `delete`, `list_for_user` of whole sessions, adapted to the store waist.

What it costs: every commit hands over the whole session, so the cost of a message grows with the conversation, and two
processes that write one session at once are told apart only as well as the store itself does it.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sessile.encoding import JSON
from sessile.errors import Conflict, CorruptStore
from sessile.log import Entry, Header
from sessile.memory_store import MemorySessionStore
from sessile.store import Page, Query

if TYPE_CHECKING:
    from sessile.session import Session


class SessionStore(ABC):
    """The simplest store to write: four async methods over whole sessions. Subclass it and pass an instance as `store=`.

    `session.to_dict()` is a session as JSON values, and `Session.from_dict(data)` makes one of them.
    """

    @abstractmethod
    async def save(self, session: Session) -> None:
        """Keep a session, in place of what is kept under its session_id."""

    @abstractmethod
    async def get(self, session_id: str) -> Session | None:
        """The session kept under this id, or None."""

    @abstractmethod
    async def delete(self, session_id: str) -> None:
        """Remove what is kept under this id; no error where there is nothing."""

    @abstractmethod
    async def list_for_user(self, user_id: str) -> list[Session]:
        """The sessions of a user."""


def is_document_store(store: object) -> bool:
    """Has this object the four methods?"""
    return all(callable(getattr(store, name, None)) for name in ("save", "get", "delete", "list_for_user"))


class DocumentStore:
    """The store waist over a document-style store."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self._locks: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Lock]] = {}
        self._guard = threading.Lock()

    async def load(self, session_id: str) -> Header | None:
        held = await self._held(session_id)
        return held.load(session_id) if held else None

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        async with self._lock(session_id):
            held = await self._held(session_id)
            if held is None and expected:
                raise Conflict(f"session {session_id!r} is not there any more")
            held = held or MemorySessionStore()
            held.commit(session_id, expected=expected, entries=entries, changes=changes)
            await self._documents.save(_session_over(held, session_id))

    async def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        held = await self._held(session_id)
        return held.read(session_id, start, stop, kind) if held else []

    async def find(self, query: Query) -> Page[Header]:
        if query.user_id is None:
            return Page([])  # the four methods cannot list without a user
        headers = []
        for session in await self._documents.list_for_user(query.user_id):
            held = await self._held(session.session_id)
            header = held.load(session.session_id) if held else None
            headers += [header] if header else []
        return Page.select(headers, query)

    async def delete(self, session_id: str) -> None:
        await self._documents.delete(session_id)

    async def close(self) -> None:
        close = getattr(self._documents, "close", None)
        result: Any = close() if close else None
        if hasattr(type(result), "__await__"):
            await result

    async def _held(self, session_id: str) -> MemorySessionStore | None:
        """A copy of what is kept, in a store of its own."""
        session = await self._documents.get(session_id)
        if session is None:
            return None
        if not hasattr(session, "to_dict"):
            raise CorruptStore(f"get({session_id!r}) returned {session!r:.60}: return the Session, or None")
        data = session.to_dict()
        held = MemorySessionStore()
        header = {**data["header"], "session_id": session_id}
        entries = [Entry.from_dict(entry) for entry in data["entries"]]
        held.commit(session_id, expected=0, entries=entries, changes=header)
        return held

    def _lock(self, session_id: str) -> asyncio.Lock:
        """One writer at a time in this process and loop."""
        loop = asyncio.get_running_loop()
        with self._guard:
            found = self._locks.get(session_id)
            if found is None or found[0] is not loop:
                found = self._locks[session_id] = loop, asyncio.Lock()
            return found[1]


def _session_over(held: MemorySessionStore, session_id: str) -> Session:
    from sessile.session import Session

    return Session(session_id, store=held)
