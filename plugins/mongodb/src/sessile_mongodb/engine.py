"""The six methods on a MongoDB client, blocking or async; see `documents.py` for what lies where."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from sessile.encoding import JSON
from sessile.errors import Conflict, CorruptStore, StoreTooNew
from sessile.ids import RESERVED, new_id
from sessile.log import Entry, Header
from sessile.native import Guard, maybe
from sessile.store import Page, Query, recency
from sessile_mongodb.connecting import check_version, explained, make_client
from sessile_mongodb.documents import HEADER, Tail, collect, condition, readable, to_fields, to_header

if TYPE_CHECKING:
    from sessile_mongodb.store import MongoSessionStore

SCHEMA = 1
TAIL = 128  # entries that a tail may have
KEPT = 50  # entries that stay in it when the others become a bucket: "the last 50" are nearly always there
_TAIL_BYTES = 256 * 1024
_POLL = 0.25  # seconds between two looks where a server has no change streams
_TAILS = 10_000  # sessions whose tails are remembered


class MongoEngine:
    """See the module's text."""

    def __init__(self, store: MongoSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.ttl = store.ttl
        self.asynchronous = asynchronous
        self.client = make_client(store.url, asynchronous=asynchronous, pool_size=store.pool_size, timeout=store.timeout)
        self.name = store.collection
        self.database = self.client.get_default_database("sessile")
        self.sessions = self.database[store.collection]
        self.buckets = self.database[f"{store.collection}_buckets"]
        self._checked = self._ready = False  # may the collection be read, and may it be written?
        self._preparing = Guard(asynchronous)
        self._feeds = True  # has the server change streams?
        self._tails: dict[str, Tail] = {}
        self._touched: dict[str, float] = {}  # by session, when what it reads was last kept alive

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
                        self._ready = await self._version() == SCHEMA
                        self._checked = True
            document = await self._document(session_id, what)
        return (to_header(document), document.get("tail", [])) if document else (None, [])

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        with explained(self.url):
            if not self._ready:
                async with self._preparing:
                    if not self._ready:
                        await self.migrate()
            fields = to_fields(changes, new=not expected)
            if self.ttl is not None:
                fields["expires_at"] = self._expiry()
            if changes.get("parent") or changes.get("renamed"):
                fields["ancestors"] = await self._ancestors(session_id, changes)
            texts = [entry.json for entry in entries]
            if not expected:
                done = await self._insert(session_id, fields, texts)
            else:
                done = await self._update(session_id, expected, fields, texts, entries[0].position if entries else 0)
            if not done:
                document = await self._document(session_id)
                found = to_header(document) if document else None
                raise Conflict(f"session {session_id!r} is not at version {expected} any more", found)
            if self.ttl is not None:
                await self._touch(session_id)

    async def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        if start >= stop:
            return []
        with explained(self.url):
            document = await self._document(session_id, None)
            if document is None:
                return []
            stop = min(stop, document["head"])
            begins, tail = document["tail_start"], document["tail"]
            entries = await self._from_buckets(document["log"], start, min(stop, begins)) if start < begins else []
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
            where = {"$and": [condition(query), self._alive()]} if self.ttl is not None else condition(query)
            cursor = self.sessions.find(where, HEADER).sort(order).limit(query.limit + 1)
            documents = await maybe(cursor.to_list())
        page = Page.of(documents, query.limit, lambda document: (document["updated_at"], document["_id"]))
        found = [header for document in page.items if (header := readable(document))]
        return Page(sorted(found, key=recency, reverse=True), page.cursor)

    async def delete(self, session_id: str) -> None:
        with explained(self.url):
            document = await maybe(self.sessions.find_one_and_delete({"_id": session_id}, {"log": 1}))
            if document:
                await maybe(self.buckets.delete_many({"log": document["log"]}))
        self._tails.pop(session_id, None)

    async def close(self) -> None:
        await maybe(self.client.close())

    # -- committing

    async def _insert(self, session_id: str, fields: dict[str, Any], texts: list[str]) -> bool:
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
                if self.ttl is None or not await self._clear_expired(session_id):
                    return False
            else:
                self._remember(session_id, tail)
                return True
        return False

    async def _update(self, session_id: str, expected: int, fields: dict[str, Any], texts: list[str], position: int) -> bool:
        """Set the header's fields and add to the tail, in one update; before that, make a bucket of a tail that is full."""
        if not texts:
            return bool(
                (await maybe(self.sessions.update_one({"_id": session_id, "version": expected}, {"$set": fields}))).matched_count
            )
        tail = self._tails.get(session_id)
        if tail is None:
            document = await self._document(session_id)
            if document is None or document["version"] != expected:
                return False
            tail = Tail.of(document)
        size = sum(map(len, texts))
        if position - tail.start >= TAIL or tail.bytes + size > _TAIL_BYTES:
            return await self._roll(session_id, expected, fields, texts)
        change = {"$set": fields, "$push": {"tail": {"$each": texts}}, "$inc": {"tail_bytes": size}}
        done = await maybe(self.sessions.update_one({"_id": session_id, "version": expected}, change))
        if done.matched_count:
            self._remember(session_id, Tail(tail.log, tail.start, tail.bytes + size))
        return bool(done.matched_count)

    async def _roll(self, session_id: str, expected: int, fields: dict[str, Any], texts: list[str]) -> bool:
        """As `_update`, where the older part of the tail becomes a bucket. One that nobody comes to refer to does no harm:
        its entries were committed, so whatever else has them has the same."""
        document = await maybe(self.sessions.find_one({"_id": session_id, "version": expected}))
        if document is None:
            return False
        old, start = document["tail"], document["tail_start"]
        kept = old[-KEPT:] if sum(map(len, old[-KEPT:])) < _TAIL_BYTES // 2 else []
        stop = start + len(old) - len(kept)
        if stop > start:
            bucket = {"_id": f"{document['log']}:{start}:{stop}", "log": document["log"], "session": session_id}
            bucket.update(start=start, stop=stop, entries=old[: stop - start])
            if self.ttl is not None:
                bucket["expires_at"] = self._expiry(2)
            with suppress(DuplicateKeyError):
                await maybe(self.buckets.insert_one(bucket))
        tail = Tail(document["log"], stop, sum(map(len, kept)) + sum(map(len, texts)))
        sets = {**fields, "tail": [*kept, *texts], "tail_start": tail.start, "tail_bytes": tail.bytes}
        done = await maybe(self.sessions.update_one({"_id": session_id, "version": expected}, {"$set": sets}))
        if done.matched_count:
            self._remember(session_id, tail)
        return bool(done.matched_count)

    def _remember(self, session_id: str, tail: Tail) -> None:
        if len(self._tails) >= _TAILS:
            self._tails.clear()
        self._tails[session_id] = tail

    # -- reading

    async def _document(self, session_id: str, what: Any = HEADER, **more: Any) -> dict[str, Any] | None:
        """A session's document, all of it for None, and its tail remembered; None where there is none, or it has expired."""
        found: dict[str, Any] | None = await maybe(self.sessions.find_one({"_id": session_id, **more}, what))
        if found is None or (self.ttl is not None and _over(found)):
            self._tails.pop(session_id, None)
            return None
        if "log" in found:
            self._remember(session_id, Tail.of(found))
        return found

    async def _from_buckets(self, log: str, start: int, stop: int) -> list[Entry]:
        where = {"log": log, "start": {"$lt": stop}, "stop": {"$gt": start}}
        buckets = await maybe(self.buckets.find(where).sort("start", ASCENDING).to_list())
        return collect(buckets, start, stop)

    # -- expiry

    def _expiry(self, times: int = 1) -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=(self.ttl or 0) * times)

    @staticmethod
    def _alive() -> dict[str, Any]:
        return {"expires_at": {"$not": {"$lt": datetime.now(timezone.utc)}}}

    async def _clear_expired(self, session_id: str) -> bool:
        """Remove a session that has expired and that the server has not removed yet."""
        gone = {"_id": session_id, "expires_at": {"$lt": datetime.now(timezone.utc)}}
        return bool((await maybe(self.sessions.delete_one(gone))).deleted_count)

    async def _ancestors(self, session_id: str, changes: Mapping[str, Any]) -> list[str]:
        """The ids of all logs that a session may read, nearest first."""
        above = changes.get("parent") or session_id
        found = await maybe(self.sessions.find_one({"_id": above}, {"ancestors": 1}))
        ancestors = [*([above] if changes.get("parent") else ()), *((found or {}).get("ancestors") or ())]
        names = changes.get("renamed") or {}
        return list(dict.fromkeys(names.get(name, name) for name in ancestors))

    async def _touch(self, session_id: str) -> None:
        """Keep alive what a session reads, when that was not done in the last tenth of its time."""
        now = time.monotonic()
        if now - self._touched.get(session_id, -float("inf")) < (self.ttl or 0) / 10:
            return
        document = await maybe(self.sessions.find_one({"_id": session_id}, {"ancestors": 1}))
        ancestors = (document or {}).get("ancestors") or []
        if ancestors:
            await maybe(self.sessions.update_many({"_id": {"$in": ancestors}}, {"$max": {"expires_at": self._expiry()}}))
        names = {"session": {"$in": [session_id, *ancestors]}}
        await maybe(self.buckets.update_many(names, {"$max": {"expires_at": self._expiry(2)}}))
        if len(self._touched) >= _TAILS:
            self._touched.clear()
        self._touched[session_id] = now

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
            logs = set(await maybe(self.sessions.distinct("log")))
            lost = [log for log in await maybe(self.buckets.distinct("log")) if log not in logs]
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
                expiry = IndexModel("expires_at", expireAfterSeconds=0)
                some = [IndexModel(field, partialFilterExpression={field: {"$gt": ""}}) for field in ("parent", "root")]
                await maybe(self.sessions.create_indexes([IndexModel(user), *some, expiry]))
                await maybe(self.buckets.create_indexes([IndexModel([("log", 1), ("start", 1)]), IndexModel("session"), expiry]))
                version = {"$max": {"version": SCHEMA}}
                with suppress(DuplicateKeyError):  # two at once
                    await maybe(self.database["sessile_schema"].update_one({"_id": self.name}, version, upsert=True))
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


def _over(document: Mapping[str, Any]) -> bool:
    expires_at = document.get("expires_at")
    return expires_at is not None and expires_at.replace(tzinfo=timezone.utc) < datetime.now(timezone.utc)
