"""The store: the seven methods a storage backend implements, and what helps to write one.

Everything else (lineage, forks, folding, rebasing, retrying) is done by the core on top of these. Methods may be
blocking or `async def`. `sessile.testing.StoreConformance` tests a backend against all that is promised here.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeAlias, TypeGuard, TypeVar

import attrs

from sessile.drive.shown import shorten
from sessile.errors import Conflict, InvalidInput, Missing
from sessile.log.encoding import JSON, from_json, to_json
from sessile.log.entries import Entry
from sessile.log.header import STATUSES, UNSEEN, Header
from sessile.log.ids import CONTROL, RESERVED

T = TypeVar("T")
Maybe: TypeAlias = T | Awaitable[T]
MOST = 10_000  # sessions on a page
MARGIN = 0.1  # of `ttl`, that a log lives longer than its header, in a store that lets sessions expire
_EVER = 2.0**63  # seconds: all moments are within
METHODS = ("load", "commit", "read", "find", "delete", "prune", "close")  # that make an object a store


def _text(query: Query, field: attrs.Attribute[Any], value: object) -> None:
    if value is None and field.default is None:
        return
    if not isinstance(value, str):
        raise InvalidInput(f"{field.name} is text, not {type(value).__name__} ({value!r:.60})")
    if not value and field.default is None:
        raise InvalidInput(f"{field.name} is empty, which no id is: leave it out to ask for all")
    if character := CONTROL.search(value):
        raise InvalidInput(f"{field.name} {value!r:.60} has {character.group()!r}, which no id has: leave it out")


def _status(query: Query, field: attrs.Attribute[str | None], value: object) -> None:
    if value is not None and value not in (*STATUSES, *UNSEEN):
        raise InvalidInput(f"status {value!r:.60} does not exist: use one of {', '.join(STATUSES)}")


def _seconds(value: object) -> float | None:
    """A moment as seconds since 1970, from those or from an aware datetime."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.timestamp()
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _EVER):
        return value
    raise InvalidInput(
        f"{shorten(value)} is no moment: before and after take seconds since 1970 (UTC), or a datetime with a time zone such as "
        "session.updated_at"
    )


def _limit(query: Query, field: attrs.Attribute[int], value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST:
        raise InvalidInput(f"limit is a number of sessions from 1 to {MOST}, not {value!r:.60}")


@attrs.frozen(kw_only=True)
class Query:
    """Which sessions `find` returns, newest change first. Every field that is set narrows it.

    status: None for all but those that are being made or deleted ("pending", "deleted").
    parent, root: the log (`Header.log`) that sessions were forked from; the first log of the tree they are in.
    before, after: bounds on `updated_at`, as seconds since 1970 or as aware datetimes (before is exclusive, after inclusive).
    prefix: of the session id. limit: at most so many a page. cursor: the page's `cursor` to go on behind it.
    Sessions whose id begins with "~" are sessile's own and found only by a prefix that begins so.
    `InvalidInput` for a field that no query can have.
    """

    user_id: str | None = attrs.field(default=None, validator=_text)
    status: str | None = attrs.field(default=None, validator=_status)
    parent: str | None = attrs.field(default=None, validator=_text)
    root: str | None = attrs.field(default=None, validator=_text)
    prefix: str = attrs.field(default="", validator=_text)
    before: float | None = attrs.field(default=None, converter=_seconds)
    after: float | None = attrs.field(default=None, converter=_seconds)
    limit: int = attrs.field(default=50, validator=_limit)
    cursor: str | None = None

    @property
    def reserved(self) -> bool:
        """Is it about sessile's own records?"""
        return self.prefix.startswith(RESERVED)

    @property
    def equal(self) -> dict[str, str]:
        """The header fields that are asked for, and their values."""
        asked = {"user_id": self.user_id, "status": self.status, "parent": self.parent, "root": self.root}
        return {name: value for name, value in asked.items() if value is not None}

    def matches(self, header: Header) -> bool:
        """Does this header belong in the result (the cursor left aside)?"""
        return (
            (self.user_id is None or header.user_id == self.user_id)
            and (header.status not in UNSEEN if self.status is None else header.status == self.status)
            and (self.parent is None or header.parent == self.parent)
            and (self.root is None or header.root == self.root)
            and header.session_id.startswith(self.prefix)
            and header.session_id.startswith(RESERVED) == self.reserved
            and (self.before is None or header.updated_at < self.before)
            and (self.after is None or header.updated_at >= self.after)
        )

    def behind(self) -> tuple[float, str] | None:
        """The (updated_at, session_id) that the page begins behind, from the cursor; None for the first page."""
        if self.cursor is None:
            return None
        try:
            time, session_id = from_json(base64.urlsafe_b64decode(self.cursor.encode()))
            return float(time), str(session_id)
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidInput(f"cursor {self.cursor!r:.60} is not one that find returned: pass page.cursor as it is") from error


@attrs.frozen
class Page(Generic[T]):
    """A page of results, to be iterated; `cursor` asks for the next one, None at the end."""

    items: list[T]
    cursor: str | None = None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @classmethod
    def of(cls, found: Sequence[T], limit: int, key: Callable[[T], tuple[float, str]]) -> Page[T]:
        """The page from up to `limit` + 1 results in order: one more than fits says that there is a next page.

        key: (updated_at, session_id) of a result.
        """
        items = list(found[:limit])
        if len(found) <= limit or not items:
            return Page(items)
        return Page(items, base64.urlsafe_b64encode(to_json(key(items[-1])).encode()).decode())

    @classmethod
    def select(cls, headers: Iterable[Header], query: Query) -> Page[Header]:
        """The page a query asks for from all headers: for stores that have no index."""
        behind = query.behind()
        found = sorted((h for h in headers if query.matches(h)), key=recency, reverse=True)
        if behind is not None:
            found = [header for header in found if recency(header) < behind]
        return Page.of([header.copy() for header in found[: query.limit + 1]], query.limit, recency)


def recency(header: Header) -> tuple[float, str]:
    """The order of `find`, newest last."""
    return header.updated_at, header.session_id


class Store(Protocol):
    """A storage backend: headers by session id, and logs by log id (`Header.log`). Each method is atomic.

    load: the header of a session as it was last committed, None where there is none; who gets it changes nothing in it.
      Leaves no trace. `CorruptStore`, with the `user_id` as far as that can be read, for a header that cannot be.
    commit: atomically append `entries` (any number, at the positions they carry) to the log that the header names, and set
      the header fields in `changes` (JSON values, which come back as they are; all of them for a new session), if the stored
      header's `version` is `expected` (0: there is none), else raise `Conflict` with the header there is, and change nothing.
      Returns once that is as durable as the store promises. When the outcome is unknown, raise `StoreUnavailable`: the core
      looks and tries again.
    read: the entries `start` to `stop` (exclusive) of one log, ascending; of one kind, if given. The whole range or `Missing`:
      a log is only ever cut at its end, so it is whole where the entry `stop - 1` is there, whatever its kind.
    find: a page of headers (see `Query`), without touching any log. It may lag behind: only lists depend on it. The headers
      are the caller's own: a store that keeps headers in memory returns copies.
    delete: remove a session's header, and nothing of its log, if its `version` is `expected`; else raise `Conflict`.
      None as `expected`: only where `load` raises `CorruptStore`.
    prune: drop the entries of a log from position `keep` on (0: the whole log); no error where there is nothing. The core
      calls it only for the log of a session that is deleted or has the status "deleted".
    close: release everything; every later call raises `Closed`.

    What a store may be able to do beyond these is in `capabilities.py`.
    """

    def load(self, session_id: str) -> Maybe[Header | None]: ...

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> Maybe[None]: ...

    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> Maybe[list[Entry]]: ...

    def find(self, query: Query) -> Maybe[Page[Header]]: ...

    def delete(self, session_id: str, *, expected: int | None) -> Maybe[None]: ...

    def prune(self, log: str, keep: int) -> Maybe[None]: ...

    def close(self) -> Maybe[None]: ...


def is_store(value: object) -> TypeGuard[Store]:
    """Has this object the seven methods, its own or those it passes on to?"""
    return all(callable(getattr(value, name, None)) for name in METHODS)


def whole(entries: Sequence[Entry], log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
    """Check that `entries` is the whole range `start` to `stop`, else raise `Missing`; return those of `kind`."""
    if stop > start and (len(entries) != stop - start or entries[0].position != start):
        raise missing(log, start, stop)
    return [entry for entry in entries if kind is None or entry.kind == kind]


def missing(log: str, start: int, stop: int) -> Missing:
    """The error of a store that does not have a whole range."""
    return Missing(f"log {log!r} does not have all entries from {start} to {stop}")


def conflict(session_id: str, expected: int | None, header: Header | None) -> Conflict:
    """The error of a store whose header of a session is at another version than `expected`."""
    what = "can be read" if expected is None else f"is not at version {expected} any more"
    return Conflict(f"session {session_id!r} {what}", header and header.copy())
