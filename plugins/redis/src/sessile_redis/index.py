"""Lists of sessions. An index is a sorted set of session ids by `updated_at`; all indexes of a prefix lie in one slot.

1. A score is the header's `updated_at`, or a flag, which says: ask the header. Lists read all that is flagged, and go by headers.
2. On one server the script of a commit or a delete writes the indexes, too, or nothing at all. On a cluster the writer flags the
   session in its indexes, then commits, then puts what is so in the place of its own flag (no two are the same), and leaves
   another's alone. A commit that was refused or cut short leaves its flag, which the next one, or a list an hour later, settles.
3. A whole index has the member "", the set of all indexes "*", which go with them when they are lost: lists see it and rebuild.
4. A rebuild puts marks, enters all headers there are, and makes its marks "" and "*"; where one is gone by then, it begins again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

from sessile.store import Header, maybe, readable
from sessile_redis.keys import Keys, from_hash
from sessile_redis.scripts import FLAG, SETTLE

FLAGS = 2**51  # the least score that is a flag; more than any time
OLD = 3600  # seconds after which whoever put a flag is taken to be gone


def new_flag(age: float = 0) -> int:
    """A flag that was put so many seconds ago; no other is the same."""
    return FLAGS + (int(time.time() - age) << 20 | random.getrandbits(20))


class Index:
    """The indexes of one prefix."""

    def __init__(self, client: Any, keys: Keys, *, cluster: bool) -> None:
        self.client = client
        self.keys = keys
        self.cluster = cluster

    async def headers(self, session_ids: Sequence[str]) -> list[Header | None]:
        """The headers of sessions; None for one that is not there or cannot be read."""
        pipeline = self.client.pipeline(transaction=False)
        for session_id in session_ids:
            pipeline.hgetall(self.keys.header(session_id))
        stored = await maybe(pipeline.execute()) if session_ids else []
        return [readable(from_hash, fields, session_id) for fields, session_id in zip(stored, session_ids, strict=True)]

    def score(self, index: str, header: Header | None) -> float | None:
        """What an index has to say of a session; None where that is not in it."""
        return header.updated_at if header is not None and self.keys.lists(index, header) else None

    async def flag(self, session_id: str, indexes: Sequence[str]) -> int:
        """Flag a session that is about to change."""
        put = new_flag()
        await FLAG.run(self.client, [self.keys.known, *indexes], session_id, put, "+inf", "")
        return put

    async def settle(self, session_id: str, indexes: Sequence[str], put: int, score: float | None) -> None:
        """Put what is so (None: it is gone) in the place of a flag, once the change is made."""
        if await SETTLE.run(self.client, [self.keys.known, *indexes], session_id, put, _text(score), FLAGS):
            await self.mend([(session_id, indexes, "")])

    async def mend(self, wrong: Iterable[tuple[str, Sequence[str], str]]) -> None:
        """See that indexes say of sessions what their headers do. New flags of others are left alone.

        wrong: session ids, indexes, and the score that is right as far as is known ("": none is).
        """
        put, old = new_flag(), new_flag(OLD)
        wrong = list(wrong)
        calls = [([self.keys.known, *indexes], [session_id, put, old, right]) for session_id, indexes, right in wrong]
        flagged = await FLAG.run_each(self.client, calls, cluster=self.cluster)
        mended = [(session_id, indexes) for (session_id, indexes, _), count in zip(wrong, flagged, strict=True) if count]
        headers = await self.headers([session_id for session_id, _ in mended])
        calls = [
            ([self.keys.known, index], [session_id, put, _text(self.score(index, header)), FLAGS])
            for (session_id, indexes), header in zip(mended, headers, strict=True)
            for index in indexes
        ]
        await SETTLE.run_each(self.client, calls, cluster=self.cluster)


def _text(score: float | None) -> str:
    return "" if score is None else repr(score)
