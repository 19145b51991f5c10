"""Until when things live: headers, logs, and what the server removes by its TTL indexes.

A header and each log have a deadline of their own, `until`, in milliseconds since 1970. A document's `expires_at`, by which
the server removes it, is the latest of them; every bucket that a document names lives at least as long as its log. For ever
is a deadline, too, the last there is, so that `$max` extends any of them and shortens none.

The server removes what has expired only once a minute or so: until then `alive` and `over` keep an expired header from
everybody. They go by the client's clock, which also makes the deadlines; clients' clocks have to agree within `MARGIN`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sessile.store import MARGIN, RESERVED

FOREVER = 253_402_214_400_000  # the last day of the year 9999
_AHEAD = 0.3  # of `ttl`, that it does when that is extended: this is done about once in a fifth of the time

# A stage of an update: when the server may remove the document; at once where it has no log.
_LATEST = {
    "$reduce": {
        "input": {"$ifNull": ["$kept", []]},
        "initialValue": {"$ifNull": ["$tail.until", 0]},
        "in": {"$max": ["$$value", "$$this.until"]},
    }
}
SETTLE = {"$set": {"expires_at": {"$toDate": {"$toLong": _LATEST}}}}


def now() -> int:
    """This moment, in milliseconds since 1970."""
    return int(time.time() * 1000)


def alive() -> dict[str, Any]:
    """What is true of a document whose header has not expired."""
    return {"until": {"$gt": now()}}


def expired() -> dict[str, Any]:
    """What is true of a document whose header has."""
    return {"until": {"$lte": now()}}


def over(document: Mapping[str, Any]) -> bool:
    """Has the header in a document expired? One that is broken has not."""
    until = document.get("until")
    return isinstance(until, int) and until <= now()


def moment(until: float | None) -> int:
    """A deadline from seconds since 1970; None: for ever."""
    return FOREVER if until is None else min(int(until * 1000), FOREVER)


def date(until: int) -> datetime:
    """A deadline as the TTL indexes have it."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=until)


class Deadlines:
    """What a store's commits do to deadlines. ttl: seconds after its last change that a session expires; None: never."""

    def __init__(self, ttl: float | None) -> None:
        self.ttl = ttl

    def born(self, session_id: str) -> tuple[int, int]:
        """The deadlines of a new session's header and log."""
        if self.ttl is None or session_id.startswith(RESERVED):
            return FOREVER, FOREVER
        return self._after(1), self._after(1 + _AHEAD)

    def later(self, header: int, log: int) -> tuple[int, int]:
        """The deadlines of a header and its log after a commit, from those before."""
        if header == FOREVER:
            return header, log
        if self.ttl is None:
            return FOREVER, FOREVER
        enough = self._after(1 + MARGIN)
        return max(header, self._after(1)), log if log >= enough else self._after(1 + _AHEAD)

    def _after(self, times: float) -> int:
        assert self.ttl is not None
        return min(now() + int(self.ttl * times * 1000), FOREVER - 1)


def extended(path: str, until: int) -> dict[str, Any]:
    """What `$max` does for a log to live until then, with the document that it is in."""
    return {f"{path}.until": until, "expires_at": date(until)}
