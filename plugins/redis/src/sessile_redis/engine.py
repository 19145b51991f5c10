"""The store's methods on a Redis client, blocking or async; see `keys.py` for where things lie, `index.py` for lists."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError, ResponseError

from sessile.errors import CorruptStore, SessileError
from sessile.store import (
    RESERVED,
    Entry,
    Guard,
    Header,
    Page,
    Query,
    Recent,
    background,
    conflict,
    from_json,
    maybe,
    to_json,
    whole,
)
from sessile_redis.checking import check
from sessile_redis.connecting import check_version, explained, make_client, one_server, unread_answers_lost
from sessile_redis.feed import Feed
from sessile_redis.index import Index
from sessile_redis.keys import IDENTITY, Keys, Place, from_hash, from_list, to_hash
from sessile_redis.listing import find, look_at_some
from sessile_redis.scripts import COMMIT, DELETE, LAST, TOUCH

if TYPE_CHECKING:
    from sessile_redis.store import RedisSessionStore

_ATTEMPTS = 3  # at finding where a session lies
_PLACES = 10_000  # sessions whose places are kept in memory


@contextmanager
def _a_hash(key: str) -> Iterator[None]:
    """`CorruptStore` where a header's key is of another type."""
    try:
        yield
    except ResponseError as error:
        if "WRONGTYPE" not in str(error):
            raise
        raise CorruptStore(f"the key {key!r} is no session header ({error}): delete the session") from error


class RedisEngine:
    """See the module's text."""

    def __init__(self, store: RedisSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.asynchronous = asynchronous
        self.cluster = store.cluster
        self.client = make_client(
            store.url,
            cluster=store.cluster,
            asynchronous=asynchronous,
            pool_size=store.pool_size,
            timeout=store.timeout,
        )
        self.keys = Keys(store.prefix)
        self.index = Index(self.client, self.keys, cluster=store.cluster)
        self.ttl = max(1, int(store.ttl * 1000)) if store.ttl else 0  # milliseconds
        self.version: str | None = None  # the server's, once it was asked
        self._preparing = Guard(asynchronous)
        self._places = Recent[str, Place](_PLACES)
        self._feed: Feed | None = None
        self._feeding = Guard(asynchronous)
        self._timeout = store.timeout

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with nullcontext() if self.asynchronous else unread_answers_lost(self.client), explained(self.url, self.keys.prefix):
            yield

    # -- reading

    async def load(self, session_id: str) -> Header | None:
        key = self.keys.header(session_id)
        with self._explained(), _a_hash(key):
            stored = await maybe(self.client.hgetall(key))
        return self._loaded(session_id, from_hash(stored, key))

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        key = self.keys.header(session_id)
        place = self._places.get(session_id)
        with self._explained(), _a_hash(key):
            if place is None:
                found, lines = await LAST.run(self.client, [key], self.keys.logs_of(session_id), count)
                header = from_list(found, key)
            else:
                pipeline = self.client.pipeline(transaction=False)
                pipeline.hgetall(key)
                pipeline.lrange(place.log, -count, -1)
                stored, lines = await maybe(pipeline.execute())
                header = from_hash(stored, key)
        self._loaded(session_id, header)
        if header is None:
            return None, []
        entries = Entry.all_from_json(lines)
        start = max(0, header.head - count)
        of_another = place is not None and place.log != self.keys.log(header.log)
        if of_another or [entry.position for entry in entries] != [*range(start, header.head)]:
            entries = await self.read(header.log, start, header.head)  # … or more was said meanwhile
        return header, entries

    def _loaded(self, session_id: str, header: Header | None) -> Header | None:
        if header is not None:
            self._remember(session_id, header.__dict__)
        return header

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        if start >= stop:
            return []
        with self._explained():
            lines = await maybe(self.client.lrange(self.keys.log(log), start, stop - 1))
        return whole(Entry.all_from_json(lines), log, start, stop, kind)

    async def find(self, query: Query) -> Page[Header]:
        with self._explained():
            await self._prepare()
            return await find(self.index, query)

    async def logs(self) -> list[str]:
        with self._explained():
            found = self.client.scan_iter(self.keys.logs, count=1000)
            keys = [key async for key in found] if hasattr(found, "__aiter__") else [*found]
        return [self.keys.log_id(key.decode()) for key in dict.fromkeys(keys)]

    # -- writing

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        with self._explained():
            await self._prepare()
            for _ in range(_ATTEMPTS):
                before = await self._place(session_id) if expected else self._remember(session_id, changes)
                done = await self._commit(session_id, before, expected, entries, changes)
                if done != 0:
                    break
                self._places.pop(session_id, None)  # this process remembered another session of the id
        if done == 0:
            raise CorruptStore(f"the header of session {session_id!r} does not say where its log lies: delete the session")
        if done == 1 and not expected and self.ttl:
            with suppress(RedisError):  # it is stored all the same
                await look_at_some(self.index, time.time() - self.ttl / 1000)
        if done != 1:
            raise conflict(session_id, expected, self._loaded(session_id, from_list(done, self.keys.header(session_id))))

    async def _commit(
        self, session_id: str, before: Place, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]
    ) -> Any:
        moved = expected and not changes.keys().isdisjoint(IDENTITY)
        indexes = (await self._moved(session_id, changes)).indexes if moved else before.indexes
        hashed = to_hash(changes, new=not expected)
        at = changes.get("updated_at")
        arguments = [expected, before.identity, entries[0].position if entries else 0]
        arguments += [0 if session_id.startswith(RESERVED) else self.ttl, self.keys.channel(session_id)]
        arguments += [changes.get("version", expected + 1), session_id, "" if at is None else to_json(at)]
        arguments += [len(hashed), *hashed, *(entry.json for entry in entries)]
        keys = [self.keys.header(session_id), before.log]
        if not self.cluster:
            return await COMMIT.run(self.client, [*keys, self.keys.known, *indexes], *arguments)
        put = await self.index.flag(session_id, indexes)
        done = await COMMIT.run(self.client, keys, *arguments)
        if done == 1:
            with suppress(RedisError):  # it is stored; the flag says for ever that the header is to be asked
                if at is None:
                    await self.index.mend([(session_id, indexes, "")])
                else:
                    await self.index.settle(session_id, indexes, put, at)
        return done

    async def delete(self, session_id: str, *, expected: int | None) -> None:
        version = await self._broken_version(session_id) if expected is None else str(expected)
        with self._explained():
            await self._prepare()
            place = self.keys.place(session_id, {}) if expected is None else await self._place(session_id)
            done = await self._delete(session_id, version, place.indexes)
        self._places.pop(session_id, None)
        if done != 1:
            raise conflict(session_id, expected, from_list(done, self.keys.header(session_id)))

    async def _delete(self, session_id: str, version: str, indexes: Sequence[str]) -> Any:
        key = self.keys.header(session_id)
        arguments = [version, self.keys.channel(session_id), session_id]
        if not self.cluster:
            return await DELETE.run(self.client, [key, self.keys.known, *indexes], *arguments)
        put = await self.index.flag(session_id, indexes)
        done = await DELETE.run(self.client, [key], *arguments)
        if done == 1:
            with suppress(RedisError):
                await self.index.settle(session_id, indexes, put, None)
        return done

    async def _broken_version(self, session_id: str) -> str:
        """The version stored in an unreadable header. Raises `Conflict` if the header can be read."""
        try:
            header = await self.load(session_id)
        except CorruptStore:
            with self._explained(), suppress(ResponseError):  # it is no hash
                version = await maybe(self.client.hget(self.keys.header(session_id), "version"))
                return (version or b"").decode()
            return ""
        raise conflict(session_id, None, header)

    async def prune(self, log: str, keep: int) -> None:
        with self._explained():
            key = self.keys.log(log)
            await maybe(self.client.ltrim(key, 0, keep - 1) if keep else self.client.unlink(key))

    async def touch(self, log: str, until: float | None) -> None:
        with self._explained():
            await TOUCH.run(self.client, [self.keys.log(log)], "" if until is None else int(until * 1000))

    # -- more

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        """Return when the version may be another one, told by the channel of the session, or after `timeout` seconds."""
        channel = self.keys.channel(session_id)
        feed = await self._started_feed()
        with self._explained():
            heard = await self._on_loop(feed.listen(channel))
            stored = await maybe(self.client.hget(self.keys.header(session_id), "version"))
            if int(stored or 0) == version:
                await self._on_loop(feed.wait(channel, heard, timeout))

    async def _started_feed(self) -> Feed:
        async with self._feeding:
            if self._feed is None:
                options = {"cluster": False, "asynchronous": True, "pool_size": 1, "timeout": self._timeout}
                self._feed = Feed(lambda: make_client(one_server(self.url), **options), self._timeout)
        return self._feed

    async def _on_loop(self, awaitable: Any) -> Any:
        """Await something of the feed, which lives on the background loop, as the async engine does."""
        return await awaitable if self.asynchronous else background(awaitable)

    async def check(self, repair: bool) -> dict[str, Any]:
        with self._explained():
            await self._prepare()
            return await check(self.index, self.version or "", repair)

    async def close(self) -> None:
        if self._feed is not None:
            with suppress(SessileError):  # the garbage collector may close a store on the loop itself
                await self._on_loop(self._feed.close())
        await maybe(self.client.aclose() if hasattr(self.client, "aclose") else self.client.close())
        if not self.cluster:
            await maybe(self.client.connection_pool.disconnect())
        elif not self.asynchronous:  # whose close leaves the connections to the nodes open
            for node in self.client.get_nodes():
                if node.redis_connection is not None:
                    node.redis_connection.connection_pool.disconnect()

    async def _prepare(self) -> None:
        """At the first use, look at the server's version."""
        if self.version is None:
            async with self._preparing:
                if self.version is None:
                    self.version = await check_version(self.client, self.url, cluster=self.cluster)

    # -- where sessions lie

    async def _place(self, session_id: str) -> Place:
        """Where a session lies, as it is remembered, else as its header says."""
        return self._places.get(session_id) or self._remember(session_id, await self._identity(session_id))

    async def _moved(self, session_id: str, changes: Mapping[str, Any]) -> Place:
        """Where a session lies once such changes are made."""
        self._places.pop(session_id, None)
        return self.keys.place(session_id, {**await self._identity(session_id), **changes})

    async def _identity(self, session_id: str) -> dict[str, Any]:
        stored = await maybe(self.client.hmget(self.keys.header(session_id), IDENTITY))
        return {name: from_json(value) for name, value in zip(IDENTITY, stored, strict=True) if value}

    def _remember(self, session_id: str, header: Mapping[str, Any]) -> Place:
        place = self._places[session_id] = self.keys.place(session_id, header)
        return place
