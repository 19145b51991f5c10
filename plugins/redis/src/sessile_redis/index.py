"""Lists of sessions. An index is a sorted set in a slot of its own, so it is only ever as right as it was last told.

It is told of a change before the change is made: it may name a session that is not there, or an older time than it says,
and both are mended when they are read. An index that was lost is noticed (a set names all there are) and made again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import attrs

from sessile.errors import CorruptStore
from sessile.log import Header
from sessile.native import maybe
from sessile.store import Page, Query, recency
from sessile_redis.keys import Keys, from_hash

_WHOLE = "*"  # in the set of indexes: every session is in its indexes
_NEW = 60.0  # seconds that a session may be in an index before it is there

# One entry of an index, unless it was told something else meanwhile. ARGV: session id, time it has, time it gets ("": none).
_MEND = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if not score or tonumber(score) ~= tonumber(ARGV[2]) then return 0 end
if ARGV[3] == '' then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
"""


class Index:
    """The indexes of one prefix."""

    def __init__(self, client: Any, keys: Keys) -> None:
        self._client = client
        self._keys = keys

    async def find(self, query: Query) -> Page[Header]:
        """The page a query asks for."""
        behind = query.behind()
        index = self._keys.asked(query)
        found: dict[str, Header] = {}
        offset, batch, first = 0, query.limit + 1, True
        while True:
            named, whole = await self._named(index, query, behind, offset, batch)
            if first and not whole:
                await self.rebuild()
                named, _ = await self._named(index, query, behind, offset, batch)
            first = False
            headers, wrong = await self._headers(index, named)
            if wrong:  # mended, they may have moved to anywhere: look at the same part again
                continue
            found.update((h.session_id, h) for h in headers if query.matches(h) and (behind is None or recency(h) < behind))
            if len(named) < batch or len(found) > query.limit:
                break
            offset, batch = offset + len(named), min(2 * batch, 1000)
        newest = sorted(found.values(), key=recency, reverse=True)
        return Page.of(newest[: query.limit + 1], query.limit, recency)

    async def _named(
        self, index: str, query: Query, behind: tuple[float, str] | None, offset: int, count: int
    ) -> tuple[list[tuple[str, float]], bool]:
        """(session id, time) from an index, newest first; and can it be relied on?"""
        newest = "+inf" if query.before is None else f"({query.before!r}"
        if behind is not None and (query.before is None or behind[0] < query.before):
            newest = repr(behind[0])
        oldest = "-inf" if query.after is None else repr(query.after)
        pipeline = self._client.pipeline(transaction=False)
        pipeline.zrevrangebyscore(index, newest, oldest, start=offset, num=count, withscores=True)
        pipeline.exists(index)
        pipeline.smismember(self._keys.known, [_WHOLE, index])
        named, exists, (whole, known) = await maybe(pipeline.execute())
        return [(name.decode(), score) for name, score in named], bool(whole and (exists or not known))

    async def _headers(self, index: str, named: Sequence[tuple[str, float]]) -> tuple[list[Header], int]:
        """The headers of what an index names, and how many entries of it were wrong, which were mended."""
        pipeline = self._client.pipeline(transaction=False)
        for session_id, _ in named:
            pipeline.hgetall(self._keys.header(session_id))
        stored = await maybe(pipeline.execute()) if named else []
        headers: list[Header] = []
        wrong = 0
        for (session_id, score), fields in zip(named, stored, strict=True):
            header = _readable(fields, session_id)
            if _wrong(score, header):
                time = "" if header is None else header.updated_at
                await maybe(self._client.eval(_MEND, 1, index, session_id, score, time))
                wrong += 1
            elif header is not None:
                headers.append(header)
        return headers, wrong

    async def rebuild(self) -> int:
        """Make every index again from the sessions there are. Returns how many there are."""
        count = 0
        batch: list[bytes] = []
        async for key in _scanned(self._client, self._keys.headers):
            batch.append(key)
            if len(batch) == 500:
                count += await self._enter(batch)
                batch = []
        count += await self._enter(batch)
        await maybe(self._client.sadd(self._keys.known, _WHOLE))
        return count

    async def _enter(self, header_keys: Sequence[bytes]) -> int:
        pipeline = self._client.pipeline(transaction=False)
        for key in header_keys:
            pipeline.hgetall(key)
        stored = await maybe(pipeline.execute()) if header_keys else []
        pipeline = self._client.pipeline(transaction=False)
        headers = [h for key, fields in zip(header_keys, stored, strict=True) if (h := _readable(fields, key.decode()))]
        for header in headers:
            places = self._keys.indexes(header.session_id, attrs.asdict(header, recurse=False))
            for place in places:
                pipeline.zadd(place, {header.session_id: header.updated_at}, gt=True)
            pipeline.sadd(self._keys.known, *places)
        if headers:
            await maybe(pipeline.execute())
        return len(headers)

    async def check(self, repair: bool) -> str:
        """In words, whether the indexes are complete; with `repair` they are made again."""
        if repair:
            return f"made again from {await self.rebuild()} sessions"
        if not await maybe(self._client.sismember(self._keys.known, _WHOLE)):
            return "not complete: it is made again when somebody lists sessions, or by `sessile doctor --repair`"
        entered = await maybe(self._client.zcard(self._keys.index("all", "sessions")))
        return f"complete, {entered} sessions"


def _wrong(score: float, header: Header | None) -> bool:
    """Does an index say what is not so? What it says of the last minute may be about to become true."""
    return (header is None or header.updated_at != score) and not 0 <= time.time() - score < _NEW


def _readable(stored: dict[bytes, bytes], key: str) -> Header | None:
    """A header for a list; None for none, or a broken one, which must not hide the others."""
    try:
        return from_hash(stored, key)
    except CorruptStore:
        return None


async def _scanned(client: Any, pattern: str) -> Any:
    found = client.scan_iter(pattern, count=1000)
    if hasattr(found, "__aiter__"):
        async for key in found:
            yield key
    else:
        for key in found:
            yield key
