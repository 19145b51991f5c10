"""Making the indexes again from the headers there are, whatever is written meanwhile; and are they whole?"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any

from sessile.errors import StoreError
from sessile.store import maybe, new_id, readable
from sessile_redis.index import Index
from sessile_redis.keys import from_hash
from sessile_redis.scripts import REBUILD

_ATTEMPTS = 3
_BATCH = 500  # headers, or indexes


async def rebuild(index: Index, *asked: str) -> int:
    """Make every index whole, those that are asked for too. Returns how many sessions there are."""
    for _ in range(_ATTEMPTS):
        count = await _attempt(index, asked)
        if count is not None:
            return count
    raise StoreError("indexes are lost while they are made again: set maxmemory-policy noeviction, or the server drops more")


async def lost(index: Index) -> list[str]:
    """The indexes that there were and that are not whole."""
    found: list[str] = []
    async for names in known(index):
        pipeline = index.client.pipeline(transaction=False)
        for name in names:
            pipeline.zscore(name, "")
        found += [name for name, mark in zip(names, await maybe(pipeline.execute()), strict=True) if mark is None]
    return found


async def known(index: Index) -> AsyncIterator[list[str]]:
    """The indexes that there are, as far as is known, a few hundred at a time."""
    async for found in _batches(index.client.sscan_iter(index.keys.known, count=_BATCH)):
        if names := [name.decode() for name in found if not name.startswith((b"*", b"\n"))]:  # not its marks
            yield names


async def _attempt(index: Index, asked: Sequence[str]) -> int | None:
    """How many sessions there are; None where something was lost on the way."""
    mark = f"\n{new_id()}"  # no session has such an id
    marked = {*index.keys.everyone, *asked, *await lost(index)}
    await _ends(index, "begin", mark, marked)
    count = 0
    async for keys in _batches(index.client.scan_iter(index.keys.headers, count=1000)):
        pipeline = index.client.pipeline(transaction=False)
        for key in keys:
            pipeline.hgetall(key)
        stored = await maybe(pipeline.execute())
        headers = [
            header for key, fields in zip(keys, stored, strict=True) if (header := readable(from_hash, fields, key.decode()))
        ]
        places = [index.keys.place(header.session_id, header.__dict__).indexes for header in headers]
        first = {name for indexes in places for name in indexes} - marked
        await _ends(index, "begin", mark, first)
        marked |= first
        scores = [repr(header.updated_at) for header in headers]
        await index.mend(zip([header.session_id for header in headers], places, scores, strict=True))
        count += len(headers)
    missing = await _ends(index, "end", mark, marked)
    missing += await REBUILD.run(index.client, [index.keys.known], "finish", mark)
    return None if missing else count


async def _ends(index: Index, end: str, mark: str, names: Iterable[str]) -> int:
    named = sorted(names)
    parts = [named[start : start + _BATCH] for start in range(0, len(named), _BATCH)]
    return sum([await REBUILD.run(index.client, [index.keys.known, *part], end, mark) for part in parts])


async def _batches(found: Any) -> AsyncIterator[list[bytes]]:
    """What either face of the client finds, a few hundred at a time."""
    batch: list[bytes] = []
    if hasattr(found, "__aiter__"):
        async for one in found:
            batch.append(one)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    else:
        for one in found:
            batch.append(one)
            if len(batch) == _BATCH:
                yield batch
                batch = []
    if batch:
        yield batch
