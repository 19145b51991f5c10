"""The store that keeps everything in this process: for tests, and for conversations that may be forgotten."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping, Sequence

from sessile.encoding import JSON
from sessile.errors import Closed, Conflict
from sessile.log import Entry, Header
from sessile.store import Page, Query

_Sessions = dict[str, tuple[Header, list[Entry]]]
_named: defaultdict[str, _Sessions] = defaultdict(dict)
_lock = threading.Lock()


class MemorySessionStore:
    """Sessions in a dict; gone with the process. Safe among threads.

    name: stores of one name in one process hold the same sessions; "" (the default) shares with nobody.
    """

    def __init__(self, name: str = "") -> None:
        self._sessions: _Sessions | None = _named[name] if name else {}

    @classmethod
    def from_url(cls, url: str) -> MemorySessionStore:
        """`memory://` for a new, empty store, `memory://name` for one that is shared in this process."""
        return cls(url.partition("://")[2])

    def load(self, session_id: str) -> Header | None:
        found = self._open().get(session_id)
        return found[0] if found else None

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        sessions = self._open()
        with _lock:
            header, log = sessions.get(session_id, (None, []))
            if (header.version if header else 0) != expected:
                raise Conflict(f"session {session_id!r} is not at version {expected} any more", header)
            changed = header.after(changes) if header else Header.from_dict(changes)
            log.extend(entries)
            sessions[session_id] = changed, log

    def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        found = self._open().get(session_id)
        entries = found[1][start : max(start, stop)] if found else []
        return [entry for entry in entries if kind in (None, entry.kind)]

    def find(self, query: Query) -> Page[Header]:
        sessions = self._open()
        return Page.select([header for header, _ in list(sessions.values())], query)

    def delete(self, session_id: str) -> None:
        self._open().pop(session_id, None)

    def close(self) -> None:
        self._sessions = None

    def _open(self) -> _Sessions:
        if self._sessions is None:
            raise Closed("this memory store is closed, and what it held is gone: make a new MemorySessionStore()")
        return self._sessions
