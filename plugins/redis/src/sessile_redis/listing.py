"""Reading the indexes: pages of sessions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from sessile.errors import StoreError
from sessile.store import Header, Page, Query, maybe, recency
from sessile_redis.index import FLAGS, OLD, Index, new_flag
from sessile_redis.rebuild import rebuild
from sessile_redis.scripts import PAGE

_ATTEMPTS = 3
_MOST = 1000  # sessions that are read at a time
_SOME, _FEW = 4, 20  # indexes that are looked at by the way (a new session is in so many at most), and sessions of each

Named = list[tuple[str, float]]  # what an index says: session ids and scores


async def find(index: Index, query: Query) -> Page[Header]:
    """The page a query asks for."""
    behind = query.behind()
    name = index.keys.asked(query)
    newest = f"({FLAGS if query.before is None else query.before!r}"
    if behind is not None and (query.before is None or behind[0] < query.before):
        newest = repr(behind[0])
    oldest = "(-inf" if query.after is None else repr(query.after)
    found: list[Header] = []
    seen: set[str] = set()
    batch = count = query.limit + 1
    while True:
        flagged, named = await _named(index, name, newest, oldest, count)
        new = [(session_id, score) for session_id, score in flagged + named if session_id not in seen]
        seen.update(session_id for session_id, _ in new)
        headers = await _headers(index, name, new)
        found += [header for header in headers if query.matches(header) and (behind is None or recency(header) < behind)]
        if len(named) < count:
            break
        last, score = named[-1]
        if sum(recency(header) >= (score, last) for header in found) > query.limit:  # what is unread is older
            break
        batch = min(2 * batch, _MOST)
        newest, count = repr(score), batch + sum(other == score for _, other in named)
    found.sort(key=recency, reverse=True)
    return Page.of(found[: query.limit + 1], query.limit, recency)


async def read_through(index: Index, name: str) -> None:
    """Read an index to its end, so that what it says wrong is mended."""
    newest, count = f"({FLAGS}", _MOST
    while True:
        flagged, named = await _named(index, name, newest, "(-inf", count)
        await _headers(index, name, flagged + named)
        if len(named) < count:
            break
        newest = repr(named[-1][1])
        count = _MOST + sum(other == named[-1][1] for _, other in named)


async def look_at_some(index: Index, before: float) -> None:
    """Take what has expired out of a few of the indexes, whichever: some of the sessions that last changed before that time.

    The server removes a session that expires, but not what indexes say of it. Each session that is begun does so: that is when
    indexes grow, and lists pay nothing for it.
    """
    found = await maybe(index.client.srandmember(index.keys.known, _SOME)) or []
    names = [name.decode() for name in found if not name.startswith((b"*", b"\n"))]
    counts = await _of_each(index, names, lambda pipeline, name: pipeline.zcount(name, "(-inf", before))
    starts = {name: random.randrange(max(1, count - _FEW + 1)) for name, count in zip(names, counts, strict=True) if count}
    few = await _of_each(
        index,
        [*starts],
        lambda pipeline, name: pipeline.zrangebyscore(name, "(-inf", before, start=starts[name], num=_FEW, withscores=True),
    )
    for name, named in zip(starts, few, strict=True):
        await _headers(index, name, [(session_id.decode(), float(score)) for session_id, score in named])


async def _of_each(index: Index, names: Sequence[str], ask: Callable[[Any, str], Any]) -> list[Any]:
    """What each of these indexes answers, in one round trip."""
    if not names:
        return []
    pipeline = index.client.pipeline(transaction=False)
    for name in names:
        ask(pipeline, name)
    found: list[Any] = await maybe(pipeline.execute())
    return found


async def _named(index: Index, name: str, newest: str, oldest: str, count: int) -> tuple[Named, Named]:
    """What an index says: all that is flagged, and so many between two scores, newest first."""
    for _ in range(_ATTEMPTS):
        parts = await PAGE.run(index.client, [index.keys.known, name], newest, oldest, count, FLAGS)
        if parts != 0:
            return _pairs(parts[0]), _pairs(parts[1])
        await rebuild(index, name)
    raise StoreError("an index is lost again and again: set maxmemory-policy noeviction, so that the server drops no keys")


def _pairs(part: list[bytes]) -> Named:
    return [(name.decode(), float(score)) for name, score in zip(part[::2], part[1::2], strict=True)]


async def _headers(index: Index, name: str, named: Named) -> list[Header]:
    """The headers of what an index names. What it says wrong is mended."""
    headers = await index.headers([session_id for session_id, _ in named])
    old = new_flag(OLD)
    wrong = [
        (session_id, [name], "")
        for (session_id, score), header in zip(named, headers, strict=True)
        if score < old and score != index.score(name, header)
    ]
    if wrong:
        await index.mend(wrong)
    return [header for header in headers if header is not None]
