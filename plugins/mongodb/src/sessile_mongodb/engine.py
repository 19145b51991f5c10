"""The store's methods on a MongoDB client, blocking or async; see `documents.py` for what lies where."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel, ReadPreference
from pymongo.errors import DuplicateKeyError

from sessile.errors import Conflict, CorruptStore
from sessile.store import JSON, Entry, Guard, Header, Page, Query, background, conflict, maybe, recency, refuse_newer, whole
from sessile_mongodb.connecting import check_version, explained, make_client
from sessile_mongodb.deadlines import alive, moment, over
from sessile_mongodb.documents import HEADER, STORED, condition, to_header, unexpired
from sessile_mongodb.feed import Feed
from sessile_mongodb.logs import Logs
from sessile_mongodb.tails import Tails

if TYPE_CHECKING:
    from sessile_mongodb.store import MongoSessionStore

SCHEMA = 1
_FAREWELL = 0.5  # seconds that closing may take to tell the server so


class MongoEngine:
    """See the module's text."""

    def __init__(self, store: MongoSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.asynchronous = asynchronous
        self.client = make_client(store.url, asynchronous=asynchronous, pool_size=store.pool_size, timeout=store.timeout)
        self.name = store.collection
        self.ttl = store.ttl
        self.database = self.client.get_default_database("sessile", read_preference=ReadPreference.PRIMARY)
        self.sessions = self.database[store.collection]
        self._logs = Logs(self.sessions, self.database[f"{store.collection}_buckets"])
        self.tails = Tails(self.sessions, self._logs, store.ttl)
        self.feed = Feed(store)
        self._checked = self._ready = False  # may the collection be read, and may it be written?
        self._preparing = Guard(asynchronous)

    async def load(self, session_id: str) -> Header | None:
        header, _ = await self._load(session_id, HEADER)
        return header

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        header, texts = await self._load(session_id, {"tail.entries": {"$slice": -count}, "kept": 0})
        return header, Entry.all_from_json(texts)

    async def _load(self, session_id: str, what: Mapping[str, Any]) -> tuple[Header | None, list[str]]:
        with explained(self.url):
            if not self._checked:
                async with self._preparing:
                    if not self._checked:
                        self._ready = await self._version() == SCHEMA and self.ttl is None
                        self._checked = True
            document = await self._document(session_id, what)
        return (to_header(document), document.get("tail", {}).get("entries", [])) if document else (None, [])

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> None:
        with explained(self.url):
            if not self._ready:
                async with self._preparing:
                    if not self._ready:
                        await self.migrate()
            if expected:
                done = await self.tails.append(session_id, expected, changes, entries)
            else:
                done = await self.tails.begin(session_id, changes, entries)
            if not done:
                raise await self._conflict(session_id, expected)

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        if start >= stop:
            return []
        with explained(self.url):
            return whole(await self._logs.read(log, start, stop), log, start, stop, kind)

    async def find(self, query: Query) -> Page[Header]:
        with explained(self.url):
            order = [("updated_at", DESCENDING), ("_id", DESCENDING)]
            cursor = self.sessions.find(condition(query), {"tail": 0, "kept": 0}).sort(order).limit(query.limit + 1)
            documents = await maybe(cursor.to_list())
        page = Page.of(documents, query.limit, lambda document: (document["updated_at"], document["_id"]))
        found = [header for document in page.items if (header := unexpired(document))]
        return Page(sorted(found, key=recency, reverse=True), page.cursor)

    async def delete(self, session_id: str, *, expected: int | None) -> None:
        with explained(self.url):
            this = {"version": expected, **alive()} if expected is not None else await self._broken(session_id)
            if this is None or not await self._logs.bury(session_id, this):
                raise await self._conflict(session_id, expected)

    async def prune(self, log: str, keep: int) -> None:
        with explained(self.url):
            await self._logs.prune(log, keep)

    async def touch(self, log: str, until: float | None) -> None:
        with explained(self.url):
            await self._logs.touch(log, moment(until))

    async def logs(self) -> list[str]:
        with explained(self.url):
            return await self._logs.ids()

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        await self._on_background(self.feed.wait(session_id, version, timeout))

    async def close(self) -> None:
        with pymongo.timeout(_FAREWELL):  # else it waits for a server that is gone
            await maybe(self.client.close())
        if self.feed.running:
            await self._on_background(self.feed.close())

    async def _on_background(self, awaitable: Awaitable[None]) -> None:
        """Await what runs on the background loop, where the async face already is."""
        await awaitable if self.asynchronous else background(awaitable)

    async def _document(self, session_id: str, what: Any = HEADER) -> dict[str, Any] | None:
        """The document of a session, its tail remembered; None where there is none, or it has expired."""
        found: dict[str, Any] | None = await maybe(self.sessions.find_one({"_id": session_id}, what))
        if found is None or "tail" not in found or over(found):
            return None
        self.tails.saw(found)
        return found

    async def _conflict(self, session_id: str, expected: int | None) -> Conflict:
        document = await self._document(session_id)
        return conflict(session_id, expected, to_header(document) if document else None)

    async def _broken(self, session_id: str) -> dict[str, Any] | None:
        """What is true of a session's document only as long as it has a header, this one, which cannot be read."""
        document = await self._document(session_id)
        if document is None or unexpired(document):
            return None
        return {"tail": {"$exists": True}, **{name: document.get(name) for name in STORED}}

    # -- more

    async def check(self, repair: bool) -> dict[str, JSON]:
        """What `sessile doctor` shows: the round trip, the server's version and durability, the schema, lost buckets."""
        with explained(self.url):
            server = await maybe(self.client.server_info())
            begin = time.perf_counter()
            await maybe(self.client.admin.command("ping"))
            latency = time.perf_counter() - begin
            lost = await self._logs.unnamed()
            if repair:
                await self._logs.repair(lost)
        return {
            "latency_ms": round(latency * 1000, 3),
            "server": f"MongoDB {server['version']}",
            "durability": str(self.client.write_concern.document),
            "schema": f"version {await self._version() or 0} of {SCHEMA}",
            "index": f"{len(lost)} logs of deleted sessions {'removed' if repair else 'left'}" if lost else "complete",
        }

    async def migrate(self) -> tuple[int, int]:
        """Make the indexes. Many processes may do so at once."""
        with explained(self.url):
            server = await maybe(self.client.server_info())
            check_version(server["version"], self.url)
            done = await self._version()
            if done is None:
                await self._make_indexes()
                version = {"$max": {"version": SCHEMA}}
                with suppress(DuplicateKeyError):  # two at once
                    await maybe(self.database["sessile_schema"].update_one({"_id": self.name}, version, upsert=True))
            if self.ttl is not None:  # by which the server removes what has expired: only where something ever does
                for collection in (self.sessions, self._logs.buckets.collection):
                    await maybe(collection.create_index("expires_at", expireAfterSeconds=0))
        self._checked = self._ready = True
        return done or 0, SCHEMA

    async def _make_indexes(self) -> None:
        user = [("user_id", ASCENDING), ("updated_at", DESCENDING), ("_id", DESCENDING)]
        names = ("parent", "root")
        some = [IndexModel(name, partialFilterExpression={name: {"$gt": ""}}) for name in names]
        await maybe(self.sessions.create_indexes([IndexModel(user), *some]))
        await maybe(self._logs.buckets.collection.create_index([("log", ASCENDING), ("start", ASCENDING)]))

    async def _version(self) -> int | None:
        found = await maybe(self.database["sessile_schema"].find_one({"_id": self.name}))
        if found is None:
            others = {"tail": {"$exists": False}, "kept": {"$exists": False}}
            if await maybe(self.sessions.find_one(others, {"_id": 1})):
                raise CorruptStore(f"there is a collection {self.name!r} that is not sessile's: pass another collection")
            return None
        refuse_newer(f"collection {self.name!r}", found["version"], SCHEMA, "sessile-mongodb")
        return int(found["version"])
