"""What was the tail of a log before, in documents that never change, save that pruning cuts them.

How far a log goes is told by the document of its owner alone: what lies in buckets behind that does not exist for readers.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from pymongo import ASCENDING

from sessile.store import Entry, maybe
from sessile_mongodb.deadlines import date


class Buckets:
    """The buckets of all logs, in a collection."""

    def __init__(self, collection: Any) -> None:
        self.collection = collection

    async def add(self, log: str, start: int, texts: Sequence[str], until: int) -> None:
        """Write one, or let the one live as long that is there: who wrote that had the same entries and lost."""
        stop = start + len(texts)
        bucket = {"start": start, "stop": stop, "entries": texts}
        change = {"$setOnInsert": bucket, "$max": {"expires_at": date(until)}}
        await maybe(self.collection.update_one({"_id": f"{log}:{start}:{stop}", "log": log}, change, upsert=True))

    async def read(self, log: str, start: int, stop: int) -> list[Entry]:
        """The entries from `start` on, up to `stop` or the first that is missing. Buckets may overlap, with the same entries."""
        where = {"log": log, "start": {"$lt": stop}, "stop": {"$gt": start}}
        entries: list[Entry] = []
        for bucket in await maybe(self.collection.find(where).sort("start", ASCENDING).to_list()):
            first = start + len(entries)
            if first >= bucket["start"]:  # else one is missing
                entries += map(Entry.from_json, bucket["entries"][first - bucket["start"] : stop - bucket["start"]])
        return entries

    async def keep(self, log: str, until: int) -> None:
        """Let all of a log live at least until then."""
        await maybe(self.collection.update_many({"log": log}, {"$max": {"expires_at": date(until)}}))

    async def cut(self, log: str, keep: int) -> None:
        """Remove what lies from position `keep` on."""
        await maybe(self.collection.delete_many({"log": log, "start": {"$gte": keep}}))
        longer = {"log": log, "start": {"$lt": keep}, "stop": {"$gt": keep}}
        for bucket in await maybe(self.collection.find(longer, {"start": 1}).to_list()) if keep else ():
            rest = {"$each": [], "$slice": keep - bucket["start"]}
            change = {"$push": {"entries": rest}, "$set": {"stop": keep}}
            await maybe(self.collection.update_one({"_id": bucket["_id"], "log": log, "stop": {"$gt": keep}}, change))

    async def ends(self) -> AsyncIterator[dict[str, int]]:
        """{log: the position that its buckets go to}, of a thousand logs at a time."""
        grouped = [{"$group": {"_id": "$log", "stop": {"$max": "$stop"}}}]
        async for rows in batches(await maybe(self.collection.aggregate(grouped))):
            yield {row["_id"]: row["stop"] for row in rows}


async def batches(cursor: Any) -> AsyncIterator[list[Any]]:
    """What a cursor finds, a thousand documents at a time."""
    while rows := await maybe(cursor.to_list(1000)):
        yield rows
