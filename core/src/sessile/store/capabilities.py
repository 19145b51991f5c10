"""What a store may be able to do beyond the seven methods. The core asks for it here, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class Capabilities:
    """The optional methods and attributes that a store has beyond the seven; None for those it does not have.

    load_last(session_id, count): the header and the last entries of its log, in one round trip.
    read_messages(log, start, stop): the messages (`sessile.Message`) of a range, each the caller's own, where that is faster
      than to make them of its entries; `Missing` as of `read`.
    wait(session_id, version, timeout): returns when the stored version may be another, or after so many seconds.
    search(query, limit, offset): from an index of words, a list of (log id, position) of messages that may be what a
      `SearchQuery` asks for, those that were taken back too, best first, [] behind the last. It may find more than is asked
      for, never less: whoever calls it reads each, and compares. None where the index cannot be used now. `words` says what
      words are. With offset 0 the index is brought up to date first.
    logs(): the ids of all logs that have entries; by these, broken sessions are found, which no list shows.
    check(repair): what there is to know about the server and indexes, as a dict.
    migrate(): brings an older schema up to date and returns (from, to).
    private: True for a store that its URL does not name, so that nobody shares it.

    ttl: seconds after its last change that a session expires; None: never. touch(log, until): keeps a log at least until a
      moment (seconds since 1970; None: for ever). Every method treats an expired header as missing. A commit through a store with
      a `ttl` starts the expiry of a new session, extends that of an expiring one, and leaves a permanent one permanent. A
      commit through a store without one makes the session permanent. A log lives a tenth of `ttl` longer than its header.
      Sessions whose id begins with "~" never expire.

    verbatim, own_log_only: of the core's own store of one session that is outside of its store (see `HeldSession`).

    An object `asynchronous` with the same methods as `async def` is what an `AsyncSession` uses. Of the class, when it is opened
    by a URL: `from_url(url)` opens the store, else the class is called with the URL; `absolute_url(url)` is the URL with a
    relative path in it made absolute: all who open the same one share a store; `usual_url(home)` is where it lies by default.
    """

    load_last: Callable[..., Any] | None = None
    read_messages: Callable[..., Any] | None = None
    wait: Callable[..., Any] | None = None
    search: Callable[..., Any] | None = None
    logs: Callable[..., Any] | None = None
    check: Callable[..., Any] | None = None
    migrate: Callable[..., Any] | None = None
    touch: Callable[..., Any] | None = None
    ttl: float | None = None
    private: bool | None = None
    verbatim: bool | None = None
    own_log_only: bool | None = None

    @classmethod
    def of(cls, store: object) -> Capabilities:
        """Those of a store."""
        return cls(*(getattr(store, name, None) for name in _NAMES))


_NAMES = tuple(field.name for field in attrs.fields(Capabilities))
