"""The store: the six methods a storage backend implements, and what helps to write one.

Everything else (lineage, forks, folding, rebasing, retrying) is done by the core on top of these. Methods may be
blocking or `async def`. `sessile.testing.StoreConformance` tests a backend against all that is promised here.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeAlias, TypeGuard, TypeVar

import attrs

from sessile.encoding import JSON, from_json, to_json
from sessile.errors import InvalidInput
from sessile.ids import RESERVED
from sessile.log import Entry, Header

T = TypeVar("T")
Maybe: TypeAlias = T | Awaitable[T]


@attrs.frozen(kw_only=True)
class Query:
    """Which sessions `find` returns, newest change first. Every field that is set narrows it.

    parent, root: sessions forked from this one; all forks in the tree that grew from it.
    before, after: bounds on `updated_at`, in seconds since 1970 (before is exclusive, after inclusive).
    prefix: of the session id. limit: at most so many a page. cursor: the page's `cursor` to go on behind it.
    Sessions whose id begins with "~" are sessile's own and found only by a prefix that begins so.
    """

    user_id: str | None = None
    status: str | None = None
    parent: str | None = None
    root: str | None = None
    prefix: str = ""
    before: float | None = None
    after: float | None = None
    limit: int = 50
    cursor: str | None = None

    def matches(self, header: Header) -> bool:
        """Does this header belong in the result (the cursor left aside)?"""
        return (
            (self.user_id is None or header.user_id == self.user_id)
            and (self.status is None or header.status == self.status)
            and (self.parent is None or header.parent == self.parent)
            and (self.root is None or header.root == self.root)
            and header.session_id.startswith(self.prefix)
            and (header.session_id.startswith(RESERVED) <= self.prefix.startswith(RESERVED))
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
        except ValueError as error:
            raise InvalidInput(f"cursor {self.cursor!r} is not one that find returned: pass page.cursor as it is") from error


@attrs.frozen
class Page(Generic[T]):
    """A page of results; `cursor` asks for the next one, None at the end."""

    items: list[T]
    cursor: str | None = None

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
        return Page.of(found[: query.limit + 1], query.limit, recency)


def recency(header: Header) -> tuple[float, str]:
    """The order of `find`, newest last."""
    return header.updated_at, header.session_id


class Store(Protocol):
    """A storage backend.

    load: the header of a session, None where there is none. Leaves no trace.
    commit: atomically append `entries` (at the positions they carry) and set the header fields in `changes` (JSON
      values; all of them for a new session), if the stored header's `version` is `expected` (0: there is none), else
      raise `Conflict` and change nothing. Returns once that is as durable as the store promises. When the outcome is
      unknown, raise `StoreUnavailable`: the core looks and tries again.
    read: the entries `start` to `stop` (exclusive) of one log, ascending, of one kind if given; what is not there is left out.
    find: a page of headers (see `Query`), without touching any log.
    delete: remove a session, its log and all that was made of it; no error where there is none.
    close: release everything; every later call raises `Closed`.

    Optional: `from_url(url)` (class method) opens the store a URL names, else it is called with the URL; `search(text,
    user_id, limit)` returns a list of (session id, `Entry`), best first; `load_last(session_id, count)` returns the header
    and the last entries of its log, in one round trip; `wait(session_id, version, timeout)` returns when
    the stored version may be another, or after so many seconds; `asynchronous`, an object with the same methods as
    `async def`, is what an `AsyncSession` uses; `migrate()` brings an older schema up to date and returns (from, to);
    `check(repair)` returns what there is to know about the server and indexes, as a dict.
    """

    def load(self, session_id: str) -> Maybe[Header | None]: ...

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, JSON]) -> Maybe[None]: ...

    def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> Maybe[list[Entry]]: ...

    def find(self, query: Query) -> Maybe[Page[Header]]: ...

    def delete(self, session_id: str) -> Maybe[None]: ...

    def close(self) -> Maybe[None]: ...


def is_store(value: object) -> TypeGuard[Store]:
    """Has this object the six methods, its own or those it passes on to?"""
    return all(callable(getattr(value, name, None)) for name in ("load", "commit", "read", "find", "delete", "close"))
