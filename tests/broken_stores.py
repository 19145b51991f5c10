"""Stores with one fault each, for the conformance kit to find. Each is the memory store but for what its docstring says.

Openings of one name share what there is, as those of any store do.
"""

from __future__ import annotations

import functools
import json
import math
import threading
import time
from collections import defaultdict
from typing import Any

import attrs

from sessile.errors import Conflict, Missing
from sessile.log.entries import Entry
from sessile.log.header import UNSEEN
from sessile.log.ids import RESERVED
from sessile.store.memory import MemorySessionStore
from sessile.store.text.query import SearchQuery
from sessile.store.waist import Page, Query, conflict

_shared: defaultdict[str, dict[Any, Any]] = defaultdict(dict)


class Broken(MemorySessionStore):
    """shared: what the openings of one name have in common beside the sessions."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.shared = _shared[name]


class LostUpdate(Broken):
    """A commit on an older version than the stored one is taken: the last one wins."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        header = self.load(session_id)
        if header and 0 < expected < header.version:
            expected = header.version
        super().commit(session_id, expected=expected, entries=entries, changes=changes)


class TornWrite(Broken):
    """Of three entries or more in a commit, the last one is not written."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        super().commit(session_id, expected=expected, entries=entries[:-1] if len(entries) > 2 else entries, changes=changes)


class DroppedEntry(Broken):
    """The entry at position 100 is never written."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        kept = [entry for entry in entries if entry.position != 100]
        super().commit(session_id, expected=expected, entries=kept, changes=changes)

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Any:
        there = {entry.position: entry for entry in self.entries(log)}
        if stop > start and stop - 1 not in there:
            raise Missing(log)
        return [e for e in (there.get(position) for position in range(start, stop)) if e and kind in (None, e.kind)]


class WrongOrder(Broken):
    """The entries of one commit lie in the log the other way round, where there are more than four."""

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Any:
        entries = super().read(log, start, stop, kind)
        return sorted(entries, key=lambda entry: (entry.turn, -entry.position)) if len(entries) > 4 else entries


class OffByOne(Broken):
    """A range of one kind has the entry at its end as well."""

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Any:
        entries = super().read(log, start, stop, kind)
        if kind and len(self.entries(log)) > stop > start:
            entries += super().read(log, stop, stop + 1, kind)
        return entries


class LeakedUsers(Broken):
    """A list of one user's sessions that goes on behind a cursor is of all users."""

    def find(self, query: Query) -> Any:
        return super().find(attrs.evolve(query, user_id=None) if query.cursor else query)


class LogLeft(Broken):
    """`prune` of a whole log leaves it."""

    def prune(self, log: str, keep: int) -> None:
        if keep:
            super().prune(log, keep)


class MetIds(Broken):
    """Ids that differ in capital letters alone are one."""

    def load(self, session_id: str) -> Any:
        return super().load(session_id.lower())

    def commit(self, session_id: str, **what: Any) -> None:
        super().commit(session_id.lower(), **what)

    def delete(self, session_id: str, **what: Any) -> None:
        super().delete(session_id.lower(), **what)


class DoubledEntry(Broken):
    """Each hundredth commit writes its entries twice."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        self.shared["commits"] = self.shared.get("commits", 0) + 1
        twice = [*entries, *entries] if self.shared["commits"] % 100 == 0 else entries
        super().commit(session_id, expected=expected, entries=twice, changes=changes)


class GrowingCost(Broken):
    """A commit takes longer the longer its log is: a millisecond more for 5,000 entries."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        header = self.load(session_id)
        time.sleep(len(self.entries(header.log)) * 2e-7 if header else 0)
        super().commit(session_id, expected=expected, entries=entries, changes=changes)


class SwallowedConflict(Broken):
    """A commit that comes too late is dropped, and nobody is told."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        try:
            super().commit(session_id, expected=expected, entries=entries, changes=changes)
        except Conflict:
            if not expected:
                raise


class LateDelete(Broken):
    """Other openings see a deleted session a little longer."""

    def delete(self, session_id: str, *, expected: int | None) -> None:
        header = self.load(session_id)
        super().delete(session_id, expected=expected)
        self.shared[session_id] = (header, self, time.monotonic() + 0.2)

    def load(self, session_id: str) -> Any:
        header, by, until = self.shared.get(session_id, (None, self, 0))
        return super().load(session_id) or (header if by is not self and time.monotonic() < until else None)


class Unwritten(Broken):
    """A commit is acknowledged, and written when the same opening is used again: lost where that is closed before."""

    _waiting: Any = None

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        header = self.load(session_id)
        if (header.version if header else 0) != expected:
            raise conflict(session_id, expected, header)
        self._waiting = functools.partial(super().commit, session_id, expected=expected, entries=entries, changes=changes)

    def _open(self) -> Any:
        write, self._waiting = self._waiting, None
        if write:
            write()
        return super()._open()


class StaleRead(Broken):
    """Each seventh `load` of a session returns the header before the last one."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        before = super().load(session_id)
        super().commit(session_id, expected=expected, entries=entries, changes=changes)
        self.shared[session_id] = before

    def load(self, session_id: str) -> Any:
        self.shared[0] = self.shared.get(0, 0) + 1
        header = super().load(session_id)
        return self.shared.get(session_id) or header if header and self.shared[0] % 7 == 0 else header


class UnconditionalDelete(Broken):
    """`delete` removes whatever is there."""

    def delete(self, session_id: str, *, expected: int | None) -> None:
        if header := self.load(session_id):
            super().delete(session_id, expected=header.version)


class ShortRange(Broken):
    """A range beyond the end of a log is cut instead of `Missing`."""

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Any:
        return super().read(log, start, min(stop, len(self.entries(log))), kind)


class HiddenShown(Broken):
    """`find` without a status shows those that are being made or deleted as well."""

    def find(self, query: Query) -> Any:
        if query.status is not None:
            return super().find(query)
        assert self._kept
        shown = [attrs.evolve(h, status="active") if h.status in UNSEEN else h for h in self._kept.headers.values()]
        return Page.select(shown, query)


class HeaderFirst(Broken):
    """A commit sets the header a moment before it appends the entries."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        super().commit(session_id, expected=expected, entries=[], changes=changes)
        if entries:
            time.sleep(0.001)
            log = self._open().logs.setdefault(self._open().headers[session_id].log, [])
            log[entries[0].position :] = entries


class WholeFloats(Broken):
    """1.0 comes back as 1 from a log, as from many a JSON database."""

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Any:
        entries = super().read(log, start, stop, kind)
        return [Entry.from_dict(json.loads(entry.json, parse_float=self._number)) for entry in entries]

    @staticmethod
    def _number(text: str) -> float:
        number = float(text)
        return int(number) if number.is_integer() and abs(number) < 2**53 else number


class Changed(Broken):
    """What the header gets is changed on the way: by those below, each in its way."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        super().commit(session_id, expected=expected, entries=entries, changes=self.changed(dict(changes)))

    def changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        return changes


class CutTitle(Changed):
    """A title has at most 255 characters."""

    def changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        return {name: value[:255] if name == "title" else value for name, value in changes.items()}


class DroppedNul(Changed):
    """U+0000 is left out of the title, and of keys and values of state and metadata."""

    def changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        return dict(json.loads(json.dumps(changes).replace("\\u0000", "")))


class DroppedNulInTitle(Changed):
    """U+0000 is left out of the title."""

    def changed(self, changes: dict[str, Any]) -> dict[str, Any]:
        return {name: value.replace("\0", "") if name == "title" else value for name, value in changes.items()}


class SmallCommits(Broken):
    """A commit of more than 1,000 entries is refused."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        if len(entries) > 1000:
            raise ValueError(f"{len(entries)} entries are too many")
        super().commit(session_id, expected=expected, entries=entries, changes=changes)


class EverybodysSearch(Broken):
    """`search` finds all users' messages, whoever's are asked for."""

    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]]:
        logs = self._open().logs.items()
        found = [(log, e.position) for log, there in logs for e in there if query.matches(e.body.get("content", ""))]
        return found[offset : offset + limit]


class DeafWait(Broken):
    """`wait` returns seconds after it should, whatever is committed meanwhile."""

    def wait(self, session_id: str, version: int, timeout: float) -> None:
        time.sleep(timeout + 3)


class Expiring(Broken):
    """No fault: sessions expire `ttl` seconds after their last change, and their logs a tenth of it later."""

    def __init__(self, name: str, ttl: float | None = None) -> None:
        super().__init__(name)
        self.ttl = ttl

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        super().commit(session_id, expected=expected, entries=entries, changes=changes)
        expires = self.ttl is not None and not session_id.startswith(RESERVED)
        over = time.time() + self.ttl if self.ttl is not None and expires else math.inf
        self.shared[session_id] = over
        self.keep(self._open().headers[session_id].log, over + 0.1 * (self.ttl or 0))

    def touch(self, log: str, until: float | None) -> None:
        self.keep(log, math.inf if until is None else until)

    def keep(self, log: str, until: float) -> None:
        self.shared[log] = max(self.shared.get(log, 0), until)

    def _open(self) -> Any:
        kept, now = super()._open(), time.time()
        for there in (kept.headers, kept.logs):
            for name in [name for name in there if self.shared.get(name, math.inf) < now]:
                there.pop(name, None)
        return kept


class UntouchedLogs(Expiring):
    """`touch` does nothing."""

    def touch(self, log: str, until: float | None) -> None:
        pass


class ListedForEver(Expiring):
    """`find` shows sessions that have expired."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        super().commit(session_id, expected=expected, entries=entries, changes=changes)
        self.shared.setdefault(0, {})[session_id] = self.load(session_id)

    def find(self, query: Query) -> Any:
        return Page.select(self.shared.get(0, {}).values(), query)


class Hanging(Broken):
    """`delete` waits for ever."""

    def delete(self, session_id: str, *, expected: int | None) -> None:
        threading.Event().wait()


class HangingCommit(Broken):
    """`commit` waits for ever."""

    def commit(self, session_id: str, *, expected: int, entries: Any, changes: Any) -> None:
        threading.Event().wait()


def _leaves(kind: type[Broken]) -> list[type[Broken]]:
    below = kind.__subclasses__()
    return [leaf for one in below for leaf in _leaves(one)] if below else [kind]


FAULTS = {kind.__name__: kind for kind in _leaves(Broken) if not kind.__name__.startswith("Hanging")}
