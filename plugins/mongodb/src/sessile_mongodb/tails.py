"""Where entries are written: into the tail in a session's document, of which the older part becomes a bucket when it is full."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import attrs
from pymongo import ASCENDING
from pymongo.errors import DuplicateKeyError

from sessile.ids import RESERVED, new_id
from sessile.log import Entry
from sessile.native import maybe
from sessile_mongodb.documents import HEADER, collect
from sessile_mongodb.expiry import Expiry

TAIL = 128  # entries that a tail may have
KEPT = 50  # entries that stay in it when the others become a bucket: "the last 50" are nearly always there
_BYTES = 256 * 1024
_SESSIONS = 10_000  # sessions whose tails are remembered


@attrs.frozen
class Tail:
    """What is remembered of a log: its id, where its tail begins, and how many bytes that has.

    log: made anew with each session, so that one made under the id of a deleted one has nothing of it.
    """

    log: str
    start: int
    bytes: int


class Tails:
    """The tails and buckets of a collection."""

    def __init__(self, sessions: Any, buckets: Any, expiry: Expiry) -> None:
        self.sessions = sessions
        self.buckets = buckets
        self.expiry = expiry
        self._known: dict[str, Tail] = {}

    def saw(self, document: Mapping[str, Any]) -> None:
        """Remember the tail of a session's document."""
        self._remember(document["_id"], Tail(document["log"], document["tail_start"], document["tail_bytes"]))

    def forget(self, session_id: str) -> None:
        """The session is not there any more."""
        self._known.pop(session_id, None)

    async def begin(self, session_id: str, fields: Mapping[str, Any], texts: list[str]) -> bool:
        """Insert the document of a new session. Returns whether there was none."""
        tail = Tail(new_id(), 0, sum(map(len, texts)))
        document = {
            "_id": session_id,
            "own": session_id.startswith(RESERVED),
            "log": tail.log,
            **fields,
            "tail_start": 0,
            "tail_bytes": tail.bytes,
            "tail": texts,
        }
        for _ in range(2):
            try:
                await maybe(self.sessions.insert_one(document))
            except DuplicateKeyError:
                if not await self.expiry.clear(session_id):
                    return False
            else:
                self._remember(session_id, tail)
                return True
        return False

    async def append(self, session_id: str, version: int, fields: Mapping[str, Any], texts: list[str], position: int) -> bool:
        """Set the header's fields and add to the tail, in one update. Returns whether the session was at that version.

        position: of the first entry.
        """
        if not texts:
            return await self._update(session_id, version, {"$set": fields})
        tail = self._known.get(session_id)
        if tail is None:
            document = await maybe(self.sessions.find_one(self._at(session_id, version), HEADER))
            if document is None:
                return False
            self.saw(document)
            tail = self._known[session_id]
        size = sum(map(len, texts))
        if position - tail.start >= TAIL or tail.bytes + size > _BYTES:
            return await self._roll(session_id, version, fields, texts)
        change = {"$set": fields, "$push": {"tail": {"$each": texts}}, "$inc": {"tail_bytes": size}}
        return await self._update(session_id, version, change, Tail(tail.log, tail.start, tail.bytes + size))

    async def _roll(self, session_id: str, version: int, fields: Mapping[str, Any], texts: list[str]) -> bool:
        """As `append`, where the older part of the tail becomes a bucket. One that nobody comes to refer to does no harm:
        its entries were committed, so whatever else has them has the same."""
        document = await maybe(self.sessions.find_one(self._at(session_id, version)))
        if document is None:
            return False
        log, old, start = document["log"], document["tail"], document["tail_start"]
        kept = old[-KEPT:] if sum(map(len, old[-KEPT:])) < _BYTES // 2 else []
        stop = start + len(old) - len(kept)
        if stop > start:
            bucket = {"_id": f"{log}:{start}:{stop}", "log": log, "session": session_id, "start": start, "stop": stop}
            bucket.update(entries=old[: stop - start], **self.expiry.fields(2))
            with suppress(DuplicateKeyError):
                await maybe(self.buckets.insert_one(bucket))
        tail = Tail(log, stop, sum(map(len, kept)) + sum(map(len, texts)))
        sets = {**fields, "tail": [*kept, *texts], "tail_start": tail.start, "tail_bytes": tail.bytes}
        return await self._update(session_id, version, {"$set": sets}, tail)

    async def _update(self, session_id: str, version: int, change: Mapping[str, Any], tail: Tail | None = None) -> bool:
        done = await maybe(self.sessions.update_one(self._at(session_id, version), change))
        if done.matched_count and tail is not None:
            self._remember(session_id, tail)
        return bool(done.matched_count)

    def _at(self, session_id: str, version: int) -> dict[str, Any]:
        return self.expiry.alive({"_id": session_id, "version": version})

    def _remember(self, session_id: str, tail: Tail) -> None:
        if len(self._known) >= _SESSIONS:
            self._known.clear()
        self._known[session_id] = tail

    async def read(self, log: str, start: int, stop: int) -> list[Entry]:
        """The entries `start` to `stop` of a log, from its buckets."""
        where = {"log": log, "start": {"$lt": stop}, "stop": {"$gt": start}}
        buckets = await maybe(self.buckets.find(where).sort("start", ASCENDING).to_list())
        return collect(buckets, start, stop)

    async def lost(self) -> list[str]:
        """The logs of deleted sessions of which there are buckets yet: a delete was cut short."""
        by_log = [{"$group": {"_id": "$log", "session": {"$first": "$session"}}}]
        cursor = await maybe(self.buckets.aggregate(by_log))
        lost: list[str] = []
        while rows := await maybe(cursor.to_list(1000)):
            names = {"_id": {"$in": [row["session"] for row in rows]}}
            there = {document["log"] for document in await maybe(self.sessions.find(names, {"log": 1}).to_list())}
            lost += [row["_id"] for row in rows if row["_id"] not in there]
        return lost
