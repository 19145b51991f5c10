"""The six methods on a MongoDB client, blocking or async; see `documents.py` for what lies where."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from sessile.encoding import JSON
from sessile.errors import Conflict, CorruptStore, StoreTooNew
from sessile.log import Entry, Header
from sessile.native import Guard, maybe
from sessile.store import Page, Query, recency
from sessile_mongodb.connecting import check_version, explained, make_client
from sessile_mongodb.documents import HEADER, condition, readable, to_fields, to_header
from sessile_mongodb.expiry import Expiry
from sessile_mongodb.tails import Tails

if TYPE_CHECKING:
    from sessile_mongodb.store import MongoSessionStore

SCHEMA = 1
_POLL = 0.25  # seconds between two looks where a server has no change streams
_FAREWELL = 0.5  # seconds that closing may take to tell the server so


class MongoEngine:
    """See the module's text."""

    def __init__(self, store: MongoSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.asynchronous = asynchronous
        self.client = make_client(store.url, asynchronous=asynchronous, pool_size=store.pool_size, timeout=store.timeout)
        self.name = store.collection
        self.database = self.client.get_default_database("sessile")
        self.sessions = self.database[store.collection]
        self.buckets = self.database[f"{store.collection}_buckets"]
        self._checked = self._ready = False  # may the collection be read, and may it be written?
        self._preparing = Guard(asynchronous)
        self._feeds = True  # has the server change streams?
        self.expiry = Expiry(self.sessions, self.buckets, store.ttl)
        self.tails = Tails(self.sessions, self.buckets, self.expiry)

    # -- the six methods

    async def load(self, session_id: str) -> Header | None:
        header, _ = await self._load(session_id, HEADER)
        return header

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        header, tail = await self._load(session_id, {"tail": {"$slice": -count}})
        return header, [Entry.from_json(text) for text in tail]

    async def _load(self, session_id: str, what: Mapping[str, Any]) -> tuple[Header | None, list[str]]:
        with explained(self.url):
            if not self._checked:
                async with self._preparing:
                    if not self._checked:
                        self._ready = await self._version() == SCHEMA and self.expiry.ready
                        self._checked = True
            document = await self._document(session_id, what)
        return (to_header(document), document.get("tail", [])) if document else (None, [])

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        with explained(self.url):
            if not self._ready:
                async with self._preparing:
                    if not self._ready:
                        await self.migrate()
            fields = {**to_fields(changes, new=not expected), **self.expiry.fields()}
            fields.update(await self.expiry.ancestors(session_id, changes))
            texts = [entry.json for entry in entries]
            if not expected:
                done = await self.tails.begin(session_id, fields, texts)
            else:
                done = await self.tails.append(session_id, expected, fields, texts, entries[0].position if entries else 0)
            if not done:
                document = await self._document(session_id)
                found = to_header(document) if document else None
                raise Conflict(f"session {session_id!r} is not at version {expected} any more", found)
            await self.expiry.touch(session_id)

    async def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        if start >= stop:
            return []
        with explained(self.url):
            document = await self._document(session_id, None)
            if document is None:
                return []
            stop = min(stop, document["head"])
            begins, tail = document["tail_start"], document["tail"]
            entries = await self.tails.read(document["log"], start, min(stop, begins)) if start < begins else []
            entries += map(Entry.from_json, tail[max(start - begins, 0) : max(stop - begins, 0)])
            if len(entries) < stop - start:
                if await self._document(session_id, log=document["log"]) is None:  # deleted meanwhile
                    return []
                raise CorruptStore(
                    f"session {session_id!r} lacks some of its entries {start} to {stop}: restore a copy, or delete it"
                )
        return [entry for entry in entries if kind in (None, entry.kind)]

    async def find(self, query: Query) -> Page[Header]:
        with explained(self.url):
            order = [("updated_at", DESCENDING), ("_id", DESCENDING)]
            cursor = self.sessions.find(self.expiry.alive(condition(query)), HEADER).sort(order).limit(query.limit + 1)
            documents = await maybe(cursor.to_list())
        page = Page.of(documents, query.limit, lambda document: (document["updated_at"], document["_id"]))
        found = [header for document in page.items if (header := readable(document))]
        return Page(sorted(found, key=recency, reverse=True), page.cursor)

    async def delete(self, session_id: str) -> None:
        with explained(self.url):
            document = await maybe(self.sessions.find_one_and_delete({"_id": session_id}, {"log": 1}))
            if document:
                await maybe(self.buckets.delete_many({"log": document["log"]}))
        self.tails.forget(session_id)

    async def close(self) -> None:
        with pymongo.timeout(_FAREWELL):  # else it waits for a server that is gone
            await maybe(self.client.close())

    # -- reading

    async def _document(self, session_id: str, what: Any = HEADER, **more: Any) -> dict[str, Any] | None:
        """A session's document, all of it for None, and its tail remembered; None where there is none, or it has expired."""
        found: dict[str, Any] | None = await maybe(self.sessions.find_one({"_id": session_id, **more}, what))
        if found is None or self.expiry.over(found):
            self.tails.forget(session_id)
            return None
        if "log" in found:
            self.tails.saw(found)
            self.expiry.saw(found)
        return found

    # -- more

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        """Return when the version may be another one, told by a change stream, or after `timeout` seconds."""
        give_up = time.monotonic() + timeout
        stream = await self._stream(session_id, timeout) if self._feeds else None
        if stream is None:
            await asyncio.sleep(min(_POLL, timeout)) if self.asynchronous else time.sleep(min(_POLL, timeout))
            return
        with explained(self.url):
            try:
                found = await maybe(self.sessions.find_one({"_id": session_id}, {"version": 1}))
                while (found["version"] if found else 0) == version and time.monotonic() < give_up:
                    if await maybe(stream.try_next()) is not None:
                        return
            finally:
                await maybe(stream.close())

    async def _stream(self, session_id: str, timeout: float) -> Any:
        """A change stream of one session; None where the server has none (a standalone one)."""
        match = [{"$match": {"documentKey._id": session_id}}]
        with explained(self.url):
            try:
                return await maybe(self.sessions.watch(match, max_await_time_ms=round(timeout * 1000)))
            except OperationFailure:
                self._feeds = False
                return None

    async def check(self, repair: bool) -> dict[str, JSON]:
        """What `sessile doctor` shows: the round trip, the server's version and durability, the schema, lost buckets."""
        with explained(self.url):
            server = await maybe(self.client.server_info())
            begin = time.perf_counter()
            await maybe(self.client.admin.command("ping"))
            latency = time.perf_counter() - begin
            lost = await self.tails.lost()
            if repair and lost:
                await maybe(self.buckets.delete_many({"log": {"$in": lost}}))
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
                user = [("user_id", ASCENDING), ("updated_at", DESCENDING), ("_id", DESCENDING)]
                some = [IndexModel(field, partialFilterExpression={field: {"$gt": ""}}) for field in ("parent", "root")]
                await maybe(self.sessions.create_indexes([IndexModel(user), *some]))
                await maybe(self.buckets.create_indexes([IndexModel([("log", 1), ("start", 1)]), IndexModel("session")]))
                version = {"$max": {"version": SCHEMA}}
                with suppress(DuplicateKeyError):  # two at once
                    await maybe(self.database["sessile_schema"].update_one({"_id": self.name}, version, upsert=True))
            await self.expiry.prepare()
        self._checked = self._ready = True
        return done or 0, SCHEMA

    async def _version(self) -> int | None:
        found = await maybe(self.database["sessile_schema"].find_one({"_id": self.name}))
        if found is None:
            if await maybe(self.sessions.find_one({"log": {"$exists": False}}, {"_id": 1})):
                raise CorruptStore(f"there is a collection {self.name!r} that is not sessile's: pass another collection")
            return None
        if found["version"] > SCHEMA:
            raise StoreTooNew(
                f"collection {self.name!r} has schema {found['version']}, this version knows {SCHEMA}: upgrade sessile-mongodb"
            )
        return int(found["version"])
