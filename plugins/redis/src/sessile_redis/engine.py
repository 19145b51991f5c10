"""The six methods on a Redis client, blocking or async; see `keys.py` for where things lie, `index.py` for lists."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import sha1
from pathlib import Path
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError, ResponseError

from sessile.encoding import from_json
from sessile.errors import Conflict, CorruptStore
from sessile.log import Entry, Header
from sessile.native import Guard, maybe
from sessile.store import Page, Query
from sessile_redis.connecting import check_version, explained, make_client
from sessile_redis.index import Index
from sessile_redis.keys import Keys, from_hash, to_hash

if TYPE_CHECKING:
    from sessile_redis.store import RedisSessionStore

_SCRIPT = (Path(__file__).parent / "commit.lua").read_text()
_KEEP = (Path(__file__).parent / "keep.lua").read_text()
_SHA = sha1(_SCRIPT.encode(), usedforsecurity=False).hexdigest()
_PLACES = 10_000  # sessions whose indexes are kept in memory


class RedisEngine:
    """See the module's text."""

    def __init__(self, store: RedisSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.client = make_client(
            store.url,
            cluster=store.cluster,
            asynchronous=asynchronous,
            pool_size=store.pool_size,
            timeout=store.timeout,
        )
        self.keys = Keys(store.prefix)
        self.index = Index(self.client, self.keys)
        self.cluster = store.cluster
        self.ttl = int((store.ttl or 0) * 1000)  # milliseconds
        self._ready = False
        self._preparing = Guard(asynchronous)
        self._places: dict[str, list[str]] = {}  # by session, the indexes it is in
        self._touched: dict[str, float] = {}  # by session, when what it was forked from was last kept alive

    # -- the six methods

    async def load(self, session_id: str) -> Header | None:
        with explained(self.url):
            stored = await maybe(self.client.hgetall(self.keys.header(session_id)))
        return self._loaded(session_id, stored)

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        with explained(self.url):
            pipeline = self.client.pipeline(transaction=False)
            pipeline.hgetall(self.keys.header(session_id))
            pipeline.lrange(self.keys.log(session_id), -count, -1)
            stored, lines = await maybe(pipeline.execute())
        return self._loaded(session_id, stored), [Entry.from_json(line) for line in lines]

    def _loaded(self, session_id: str, stored: Mapping[bytes, bytes]) -> Header | None:
        header = from_hash(stored, self.keys.header(session_id))
        if header is not None:  # the next commit knows what indexes to tell
            self._place(session_id, self.keys.indexes(session_id, header.__dict__))
        return header

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        with explained(self.url):
            if not self._ready:
                await self._prepare()
            moved = changes.get("parent") or changes.get("renamed")
            fields = await self._with_ancestors(session_id, changes) if moved else changes
            places = await self._places_of(session_id, expected, changes)
            position = entries[0].position if entries else 0
            hashed = to_hash(fields, new=not expected)
            texts = [entry.json for entry in entries]
            channel = self.keys.channel(session_id)
            arguments = [expected, position, self.ttl, channel, len(hashed), *hashed, *texts]
            done = await self._evaluate(session_id, arguments, places, changes.get("updated_at"))
        if done and done[0] == 1:
            _, left, ancestors = done
            if (self.ttl and ancestors) or (not self.ttl and left > 0):
                await self._touch(session_id, from_json(ancestors) if ancestors else [])
            return
        stored = dict(zip(done[::2], done[1::2], strict=True))
        header = from_hash(stored, self.keys.header(session_id))
        raise Conflict(f"session {session_id!r} is not at version {expected} any more", header)

    async def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        if start >= stop:
            return []
        with explained(self.url):
            lines = await maybe(self.client.lrange(self.keys.log(session_id), start, stop - 1))
        entries = [Entry.from_json(line) for line in lines]
        return [entry for entry in entries if kind in (None, entry.kind)]

    async def find(self, query: Query) -> Page[Header]:
        with explained(self.url):
            if not self._ready:
                await self._prepare()
            return await self.index.find(query)

    async def delete(self, session_id: str) -> None:
        header = None
        with suppress(CorruptStore):
            header = await self.load(session_id)
        with explained(self.url):
            await maybe(self.client.unlink(self.keys.header(session_id), self.keys.log(session_id)))  # both at once
            await maybe(self.client.publish(self.keys.channel(session_id), 0))
            pipeline = self.client.pipeline(transaction=False)
            for place in self.keys.indexes(session_id, header.__dict__ if header else {}):
                pipeline.zrem(place, session_id)
            await maybe(pipeline.execute())
        self._places.pop(session_id, None)

    async def close(self) -> None:
        await maybe(self.client.aclose() if hasattr(self.client, "aclose") else self.client.close())
        pool = getattr(self.client, "connection_pool", None)
        if pool is not None:
            await maybe(pool.disconnect())

    # -- more

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        """Return when the version may be another one, told by the channel of the session, or after `timeout` seconds."""
        give_up = time.monotonic() + timeout
        with explained(self.url):
            feed = self.client.pubsub()
            try:
                await maybe(feed.subscribe(self.keys.channel(session_id)))
                await maybe(feed.get_message(timeout=timeout))  # that it is subscribed
                stored = await maybe(self.client.hget(self.keys.header(session_id), "version"))
                while int(stored or 0) == version and (left := give_up - time.monotonic()) > 0:
                    if await maybe(feed.get_message(timeout=left)) is not None:
                        return
            finally:
                await maybe(feed.aclose() if hasattr(feed, "aclose") else feed.close())

    async def check(self, repair: bool) -> dict[str, Any]:
        """What `sessile doctor` shows: the round trip, the server's version and durability, the indexes."""
        with explained(self.url):
            await self._prepare()
            begin = time.perf_counter()
            await maybe(self.client.ping())
            latency = time.perf_counter() - begin
            info = await maybe(self.client.info())
            durable = "appendonly" if info.get("aof_enabled") else "snapshots only: set appendonly yes"
            settings: dict[str, Any] = {}
            with suppress(ResponseError):  # CONFIG may be forbidden
                for name in ("appendfsync", "maxmemory-policy"):  # before Redis 7, one at a time
                    settings.update(await maybe(self.client.config_get(name)))
            index = await self.index.check(repair)
        return {
            "latency_ms": round(latency * 1000, 3),
            "server": f"Redis {info['redis_version']}",
            "durability": durable,
            **settings,
            "index": index,
        }

    async def _prepare(self) -> None:
        """At the first use: look at the server's version, and give it the script."""
        async with self._preparing:
            if not self._ready:
                info = await maybe(self.client.info("server"))
                check_version(info["redis_version"], self.url)
                await maybe(self.client.script_load(_SCRIPT))
                self._ready = True

    async def _evaluate(self, session_id: str, arguments: list[Any], places: list[str], updated_at: float | None) -> Any:
        """Run the script, the indexes before it: one that has too much is mended when read, one that lacks a session is not."""
        call = [_SHA, 2, self.keys.header(session_id), self.keys.log(session_id), *arguments]
        while True:
            pipeline = self.client.pipeline(transaction=False)
            for place in places if updated_at is not None else ():
                pipeline.zadd(place, {session_id: updated_at}, gt=True)
            if arguments[0] == 0:
                pipeline.sadd(self.keys.known, *places)
            try:
                if self.cluster:  # whose client has no scripts in pipelines
                    await maybe(pipeline.execute())
                    return await maybe(self.client.evalsha(*call))
                pipeline.evalsha(*call)
                return (await maybe(pipeline.execute()))[-1]
            except NoScriptError:  # the server was restarted
                await maybe(self.client.script_load(_SCRIPT))
            except ResponseError as error:
                if "LOGLENGTH" in str(error):
                    raise CorruptStore(f"session {session_id!r}: {error}. Restore a copy, or delete the session") from error
                raise

    async def _places_of(self, session_id: str, expected: int, changes: Mapping[str, Any]) -> list[str]:
        if not expected:
            return self._place(session_id, self.keys.indexes(session_id, changes))
        places = self._places.get(session_id)
        if places is None or changes.keys() & {"parent", "root", "user_id"}:
            names = ("parent", "root", "user_id")
            stored = await maybe(self.client.hmget(self.keys.header(session_id), names))
            header = {name: from_json(value) for name, value in zip(names, stored, strict=True) if value}
            places = self._place(session_id, self.keys.indexes(session_id, {**header, **changes}))
            await maybe(self.client.sadd(self.keys.known, *places))
        return places

    def _place(self, session_id: str, places: list[str]) -> list[str]:
        if len(self._places) >= _PLACES:
            self._places.clear()
        self._places[session_id] = places
        return places

    # -- what it was forked from must not expire before it

    async def _with_ancestors(self, session_id: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        """The changes with the ids of all logs that the session may read, nearest first."""
        if changes.get("parent"):
            above = await maybe(self.client.hget(self.keys.header(changes["parent"]), "_ancestors"))
            ancestors = [changes["parent"], *(from_json(above) if above else ())]
        else:
            stored = await maybe(self.client.hget(self.keys.header(session_id), "_ancestors"))
            ancestors = from_json(stored) if stored else []
        names = changes.get("renamed") or {}
        found = list(dict.fromkeys(names.get(name, name) for name in ancestors))
        return {**changes, "_ancestors": found} if found else changes

    async def _touch(self, session_id: str, ancestors: list[str]) -> None:
        """Keep alive what a session reads, when that was not done in the last tenth of its time; without a `ttl`, that and
        the session itself for ever, which another store had given one."""
        now = time.monotonic()
        if self.ttl and now - self._touched.get(session_id, -self.ttl) < self.ttl / 10_000:
            return
        with explained(self.url):
            for log in ancestors if self.ttl else [*ancestors, session_id]:  # itself last: else it would not be seen again
                await maybe(self.client.eval(_KEEP, 2, self.keys.header(log), self.keys.log(log), self.ttl))
        if len(self._touched) >= _PLACES:
            self._touched.clear()
        self._touched[session_id] = now
