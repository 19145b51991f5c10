"""A store around another one: the base of encryption, metrics and caches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import attrs

from sessile.drive.faces import Awaiting, Blocking, Face, run
from sessile.drive.shown import shorten
from sessile.errors import Conflict, CorruptStore, InvalidInput
from sessile.log.encoding import JSON
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.log.ids import HEIRS
from sessile.store.columns import readable
from sessile.store.documents import DocumentStore, is_document_store
from sessile.store.waist import METHODS, Page, Query, is_store


class StoreWrapper:
    """A store that keeps everything in another one, and can do all that that one can.

    Override `entry_in`, `entry_out`, `changes_in` and `header_out`; each `_out` undoes its `_in`. Entries may change in
    `body` and `raw`, header fields in `title`, `state` and `metadata`: stores search by the others.
    Hashes are computed before `entry_in`, so `verify` checks that `entry_out` restores the entry. If `entry_out` or
    `read` is overridden, the wrapped store's search index is not used: it holds the changed text. Records of
    inheritance are stored unchanged, so that a sweep of the inner store without the wrapper deletes nothing that a fork needs.

    For metrics, caches or guards override the seven methods themselves. An `AsyncSession` then calls them in worker threads.

    store: a store, or a document store (`SessionStore`); `InvalidInput` for anything else. header_out: raises `CorruptStore`
    for what cannot be read; such a session is left out of lists, and can be deleted.

    Registered as `registry.add("wrapper", "vault", "my_package:Vault")`, "vault+sqlite:///chat.db" opens one around another,
    called with that store. The caller that creates a wrapper closes it; closing it closes the inner store.
    """

    def __init__(self, store: Any) -> None:
        if not is_store(store):
            if not is_document_store(store):
                raise InvalidInput(f"store is {shorten(store)}, around which nothing can be put: pass an opened store")
            store = DocumentStore(store)
        self.store = store

    def entry_in(self, entry: Entry) -> Entry:
        """What is stored of an entry."""
        return entry

    def entry_out(self, entry: Entry) -> Entry:
        """The original entry, from a stored one. Undoes `entry_in`."""
        return entry

    def changes_in(self, session_id: str, changes: Mapping[str, JSON]) -> Mapping[str, JSON]:
        """What is stored of a session's header fields."""
        return changes

    def header_out(self, header: Header) -> Header:
        """The header of which this was stored: another one, as a store may keep the one that is given."""
        return header

    def load(self, session_id: str) -> Header | None:
        return run(self._calls.load(session_id))

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        run(self._calls.commit(session_id, expected=expected, entries=entries, changes=changes))

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        return run(self._calls.read(log, start, stop, kind))

    def find(self, query: Query) -> Page[Header]:
        return run(self._calls.find(query))

    def delete(self, session_id: str, *, expected: int | None) -> None:
        run(self._calls.delete(session_id, expected=expected))

    def prune(self, log: str, keep: int) -> None:
        run(self._calls.prune(log, keep))

    def close(self) -> None:
        run(self._calls.close())

    @property
    def _calls(self) -> _Calls:
        return _Calls(self, Blocking())

    @property
    def asynchronous(self) -> _Calls:
        """The same methods, to be awaited; none where a subclass has overridden one of the seven, which is used then."""
        if _overridden(self, *METHODS):
            raise AttributeError("asynchronous")
        return _Calls(self, Awaiting())

    def __getattr__(self, name: str) -> Any:
        """Forward an optional method (see `Capabilities`) to the wrapped store, if it has it."""
        if name in ("store", "_calls", "asynchronous"):  # of one that is not made yet, as while it is copied
            raise AttributeError(name)
        if name == "load_last" and _overridden(self, "load", "read"):
            raise AttributeError(name)
        if name in ("read_messages", "search") and _overridden(self, "read"):  # which may give others than the store has
            raise AttributeError(name)
        found = getattr(self._calls, name)
        return (lambda *args: run(found(*args))) if name == "load_last" else found


@contextmanager
def _readable(what: str, user_id: str | None = None) -> Iterator[None]:
    """`CorruptStore` for what a wrapper cannot read, such as what was stored without it, whatever error it raises."""
    try:
        yield
    except CorruptStore:
        raise
    except Exception as error:
        raise CorruptStore(
            f"{what} cannot be read through this wrapper ({type(error).__name__}: {error}): was it stored without it?",
            user_id=user_id,
        ) from error


def _overridden(wrapper: StoreWrapper, *methods: str) -> bool:
    return any(getattr(type(wrapper), name) is not getattr(StoreWrapper, name) for name in methods)


class _Calls:
    """A wrapper's methods for one face."""

    def __init__(self, wrapper: StoreWrapper, face: Face) -> None:
        self._wrapper = wrapper
        self._face = face
        self._store = face.native(wrapper.store)

    def _out(self, header: Header | None) -> Header | None:
        return None if header is None else self._header_out(header)

    def _header_out(self, header: Header) -> Header:
        if header.session_id.startswith(HEIRS):
            return header
        with _readable(f"the header of session {header.session_id!r}", header.user_id):
            return self._wrapper.header_out(header)

    def _entries_out(self, log: str, entries: Iterable[Entry]) -> list[Entry]:
        with _readable(f"log {log!r}"):
            return [*map(self._wrapper.entry_out, entries)]

    async def load(self, session_id: str) -> Header | None:
        return self._out(await self._face.call(self._store.load, session_id))

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        entries = [self._wrapper.entry_in(entry) for entry in entries]
        if not session_id.startswith(HEIRS):
            changes = self._wrapper.changes_in(session_id, changes)
        await self._conditional(self._store.commit, session_id, expected=expected, entries=entries, changes=changes)

    async def delete(self, session_id: str, *, expected: int | None) -> None:
        if expected is None:  # what cannot be read through the wrapper can be in the store
            expected = await self._version_of_broken(session_id)
        await self._conditional(self._store.delete, session_id, expected=expected)

    async def _version_of_broken(self, session_id: str) -> int | None:
        header = None
        with suppress(CorruptStore):
            header = await self._face.call(self._store.load, session_id)
        return header.version if header is not None and readable(self._header_out, header) is None else None

    async def _conditional(self, method: Any, session_id: str, **how: Any) -> None:
        try:
            await self._face.call(method, session_id, **how)
        except Conflict as lost:
            lost.header = self._out(lost.header)
            raise

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        return self._entries_out(log, await self._face.call(self._store.read, log, start, stop, kind))

    async def find(self, query: Query) -> Page[Header]:
        page: Page[Header] = await self._face.call(self._store.find, query)
        found = [readable(self._header_out, header) for header in page.items]
        return attrs.evolve(page, items=[header for header in found if header is not None])

    async def prune(self, log: str, keep: int) -> None:
        await self._face.call(self._store.prune, log, keep)

    async def close(self) -> None:
        await self._face.call(self._store.close)

    def __getattr__(self, name: str) -> Any:
        if name in ("_store", "_wrapper", "_face"):  # of one that is not made yet
            raise AttributeError(name)
        found = getattr(self._store, name)
        if name in ("search", "read_messages") and type(self._wrapper).entry_out is not StoreWrapper.entry_out:
            raise AttributeError(name)
        return self._load_last if name == "load_last" else found

    async def _load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        header, entries = await self._face.call(self._store.load_last, session_id, count)
        return self._out(header), self._entries_out(header.log if header else "", entries)
