"""Until when things live: headers, logs, and what the server removes by its TTL indexes.

A header and each log have a deadline of their own, `until`, in milliseconds since 1970. A document's `expires_at`, by which
the server removes it, is the latest of them; every bucket that a document names lives at least as long as its log. For ever
is a deadline, too, the last there is, so that `$max` extends any of them and shortens none.

The server's clock decides (`$$NOW`), as clients' may differ. It removes what has expired only once a minute or so: until
then the filters here keep an expired header from everybody.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from sessile.ids import RESERVED

FOREVER = 253_402_214_400_000  # the last day of the year 9999
MARGIN = 0.1  # of `ttl`, that a log lives longer than its header, at least
_AHEAD = 0.3  # of `ttl`, that it does when that is extended: this is done about once in a fifth of the time

NOW = {"$toLong": "$$NOW"}
_UNTIL = {"$ifNull": ["$header.until", FOREVER]}  # a header that is broken is there
ALIVE = {"header": {"$exists": True}, "$expr": {"$gt": [_UNTIL, NOW]}}
EXPIRED = {"header": {"$exists": True}, "$expr": {"$lte": [_UNTIL, NOW]}}

# A stage of an update: when the server may remove the document.
SETTLE = {
    "$set": {
        "expires_at": {
            "$toDate": {
                "$reduce": {
                    "input": {"$ifNull": ["$kept", []]},
                    "initialValue": "$tail.until",
                    "in": {"$max": ["$$value", "$$this.until"]},
                }
            }
        }
    }
}


def now() -> int:
    """This moment, in milliseconds since 1970."""
    return int(time.time() * 1000)


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
