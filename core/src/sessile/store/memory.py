"""The store that keeps everything in this process: for tests, and for conversations that may be forgotten."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import attrs

from sessile.drive.arguments import checked
from sessile.drive.locks import new_lock
from sessile.errors import Closed, InvalidInput
from sessile.log.encoding import JSON
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.store.waist import Page, Query, conflict, whole


@attrs.define
class _Kept:
    headers: dict[str, Header] = attrs.field(factory=dict)
    logs: dict[str, list[Entry]] = attrs.field(factory=dict)


_named: defaultdict[str, _Kept] = defaultdict(_Kept)
_lock = new_lock()


class MemorySessionStore:
    """Sessions in a dict; gone with the process. Safe among threads.

    name: stores of one name in one process hold the same sessions; "" (the default) shares with nobody.
    """

    @checked
    def __init__(self, name: str = "") -> None:
        self._kept: _Kept | None = _named[name] if name else _Kept()
        self.private = not name

    @classmethod
    def from_url(cls, url: str) -> MemorySessionStore:
        """`memory://` for a new, empty store, `memory://name` for one that is shared in this process."""
        name = url.partition("://")[2]
        if "?" in name:
            raise InvalidInput(f"{url!r} has parameters, and this store takes none: leave out what begins with '?'")
        return cls(name)

    def load(self, session_id: str) -> Header | None:
        return self._open().headers.get(session_id)

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        kept = self._open()
        with _lock:
            header = self._at(kept, session_id, expected)
            changed = header.after(changes) if header else Header.from_dict(changes)
            if entries:
                log = kept.logs.setdefault(changed.log, [])
                del log[header.head if header else 0 :]  # what a commit left that was interrupted (Ctrl-C) before its last line
                log.extend(entries)
            kept.headers[session_id] = changed

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        entries = self._open().logs.get(log, [])
        return whole(entries[start : max(start, stop)], log, start, stop, kind)

    def find(self, query: Query) -> Page[Header]:
        return Page.select(list(self._open().headers.values()), query)

    def delete(self, session_id: str, *, expected: int | None) -> None:
        kept = self._open()
        with _lock:
            if self._at(kept, session_id, expected):
                del kept.headers[session_id]

    def prune(self, log: str, keep: int) -> None:
        kept = self._open()
        with _lock:
            if entries := kept.logs.get(log):
                kept.logs[log] = entries[:keep]  # another list: who reads the old one has it whole
            if not keep:
                kept.logs.pop(log, None)

    def entries(self, log: str) -> list[Entry]:
        """All entries there are of a log."""
        return list(self._open().logs.get(log, ()))

    def logs(self) -> list[str]:
        return list(self._open().logs)

    def close(self) -> None:
        self._kept = None

    def _at(self, kept: _Kept, session_id: str, expected: int | None) -> Header | None:
        header = kept.headers.get(session_id)
        if (header.version if header else 0) != expected:
            raise conflict(session_id, expected, header)
        return header

    def _open(self) -> _Kept:
        if self._kept is None:
            raise Closed("this memory store is closed, and what it held is gone: make a new MemorySessionStore()")
        return self._kept


class HeldSession(MemorySessionStore):
    """One session outside of its store: what `to_dict` returned is read into it.

    verbatim: show a pending or deleted session as it is stored, and do not finish its creation or deletion.
    own_log_only: what it has inherited is elsewhere.
    """

    verbatim = own_log_only = False
