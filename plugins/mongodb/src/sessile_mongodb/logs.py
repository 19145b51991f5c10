"""Logs, by their ids: the document of a log's owner says how far it goes, as the tail of a session that is there or among
those that are kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from sessile.store import Entry, maybe, missing, owner_of
from sessile_mongodb.buckets import Buckets, batches
from sessile_mongodb.deadlines import SETTLE, extended, now
from sessile_mongodb.documents import STORED

_TAIL, _KEPT = "tail", "kept.$"  # where a log's tail is, as the path for an update
_WHERE = {"tail.log": 1, "tail.start": 1, "kept.log": 1, "kept.start": 1}
_LEFT = {"$or": [{"$gt": ["$$part.start", 0]}, {"$ne": ["$$part.entries", []]}]}
_ALL = {"$concatArrays": [{"$ifNull": ["$kept", []]}, ["$tail"]]}
_EMPTY = {"tail": {"$exists": False}, "kept": []}  # a document of which nothing is left


@attrs.frozen
class Place:
    """Where a log's tail is: its path, the position it begins at, and a filter that matches as long as both are so."""

    path: str
    start: int
    where: Mapping[str, Any]


class Logs:
    """The logs of a collection of documents, and of one of buckets."""

    def __init__(self, sessions: Any, buckets: Any) -> None:
        self.sessions = sessions
        self.buckets = Buckets(buckets)

    async def read(self, log: str, start: int, stop: int) -> list[Entry]:
        """The entries `start` to `stop`, all of them or `Missing`."""
        owner = {"_id": owner_of(log)}
        document = await maybe(self.sessions.find_one(owner, {"tail": 1, "kept": {"$elemMatch": {"log": log}}}))
        for _, part in _parts(document):
            first, texts = part["start"], part["entries"]
            if part["log"] == log and stop <= first + len(texts):
                entries = await self.buckets.read(log, start, min(stop, first)) if start < first else []
                return entries + Entry.all_from_json(texts[max(start - first, 0) : max(stop - first, 0)])
        raise missing(log, start, stop)

    async def bury(self, session_id: str, condition: Mapping[str, Any]) -> bool:
        """Remove a header that meets a condition, and nothing of its log. Returns whether there was one.

        Kept logs that have expired go, too.
        """
        stay = {"$and": [{"$gt": ["$$part.until", now()]}, _LEFT]}
        kept = {"$filter": {"input": _ALL, "as": "part", "cond": stay}}
        update = [{"$set": {"kept": kept}}, {"$unset": [*STORED, "tail"]}, SETTLE]
        done = await maybe(self.sessions.update_one({"_id": session_id, **condition}, update))
        if done.matched_count:
            await self._remove_empty(session_id)
        return bool(done.matched_count)

    async def prune(self, log: str, keep: int) -> None:
        """Drop the entries from position `keep` on."""
        while (place := await self._place(log)) is not None:
            change: Any
            if place.path == _KEPT and not keep:
                others = {"input": "$kept", "as": "part", "cond": {"$ne": ["$$part.log", {"$literal": log}]}}
                change = [{"$set": {"kept": {"$filter": others}}}, SETTLE]
            elif keep < place.start:
                change = {"$set": {f"{place.path}.start": keep, f"{place.path}.entries": []}}
            else:
                change = {"$push": {f"{place.path}.entries": {"$each": [], "$slice": keep - place.start}}}
            if await self._update(place, change):
                break
        await self.buckets.cut(log, keep)
        if place is not None and place.path == _KEPT:
            await self._remove_empty(owner_of(log))

    async def touch(self, log: str, until: int) -> None:
        """Let a log live at least until then."""
        while (place := await self._place(log)) is not None:
            if place.start:  # before the log does, and again if there is another bucket by then
                await self.buckets.keep(log, until)
            if await self._update(place, {"$max": extended(place.path, until)}):
                return

    async def drop_unnamed(self, log: str) -> None:
        """Remove what a commit that lost has written ahead, if the log is dead: pruning may have been there before."""
        place = await self._place(log)
        if place is None or place.path == _KEPT:
            await self.buckets.cut(log, place.start if place else 0)

    async def ids(self) -> list[str]:
        """The ids of all logs that have entries, also where no document names them any more."""
        some = {"$or": [{"tail.start": {"$gt": 0}}, {"tail.entries.0": {"$exists": True}}, {"kept.log": {"$exists": True}}]}
        names = {"tail.log": 1, "tail.start": 1, "tail.entries": {"$slice": 1}, "kept.log": 1}
        found: dict[str, None] = {}
        async for documents in batches(self.sessions.find(some, names)):
            for path, part in (one for document in documents for one in _parts(document)):
                if path == _KEPT or part["start"] or part["entries"]:
                    found[part["log"]] = None
        async for ends in self.buckets.ends():
            found.update(dict.fromkeys(ends))
        return [*found]

    async def unnamed(self) -> dict[str, int]:
        """{log: position} of dead logs whose buckets hold entries, from that position on, that no document refers to."""
        found: dict[str, int] = {}
        async for ends in self.buckets.ends():
            owners = {"_id": {"$in": [owner_of(log) for log in ends]}}
            documents = await maybe(self.sessions.find(owners, _WHERE).to_list())
            parts = [one for document in documents for one in _parts(document)]
            living = {part["log"] for path, part in parts if path == _TAIL}
            starts = {part["log"]: part["start"] for _, part in parts}
            found.update((log, starts.get(log, 0)) for log, end in ends.items() if log not in living and end > starts.get(log, 0))
        return found

    async def repair(self, unnamed: Mapping[str, int]) -> None:
        """Remove what `unnamed` found, and documents of which nothing is left."""
        for log, start in unnamed.items():
            await self.buckets.cut(log, start)
        await maybe(self.sessions.delete_many(_EMPTY))

    async def _place(self, log: str) -> Place | None:
        owner = owner_of(log)
        for path, part in _parts(await maybe(self.sessions.find_one({"_id": owner}, _WHERE))):
            if part["log"] == log:
                one = {"log": log, "start": part["start"]}
                where = {"tail.log": log, "tail.start": part["start"]} if path == _TAIL else {"kept": {"$elemMatch": one}}
                return Place(path, part["start"], {"_id": owner, **where})
        return None

    async def _update(self, place: Place, change: Any) -> bool:
        return bool((await maybe(self.sessions.update_one(place.where, change))).matched_count)

    async def _remove_empty(self, session_id: str) -> None:
        await maybe(self.sessions.delete_one({"_id": session_id, **_EMPTY}))


def _parts(document: Mapping[str, Any] | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, tail) of all logs that a document names."""
    if document and "tail" in document:
        yield _TAIL, document["tail"]
    for part in document.get("kept", ()) if document else ():
        yield _KEPT, part
