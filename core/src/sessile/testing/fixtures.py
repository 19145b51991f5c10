"""What the conformance tests are given: the store, opened again and again, and helpers to commit to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessile.drive.faces import Blocking, run
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import find_all
from sessile.log.header import Header
from sessile.log.ids import new_log_id
from sessile.log.stamping import Change, Draft, stamp
from sessile.store.opening import open_store as open_url
from sessile.store.waist import Query
from sessile.testing import plugin
from sessile.testing.limits import within

capability = pytest.mark.capability
only_in_full = pytest.mark.only_in_full
CONFUSABLE = ("user/alice", "user:alice", "user_alice", "user%2falice", "User_alice", "user alice", "üser", "aux", "a" * 255)


class Driven:
    """A store whose methods, blocking or async, are called and waited for."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)
        if not callable(method):
            return method
        return lambda *args, **kwargs: run(Blocking().call(method, *args, **kwargs))


def headers(store: Any, **query: Any) -> list[Header]:
    """All headers that a query finds, of sessile's own records too: what no manager lists."""
    return run(find_all(Commits(Blocking(), store), Query(**{"limit": 1000, **query}), prefixes=(query.get("prefix", ""),)))


def born(session_id: str, **fields: Any) -> Header:
    """The header of a session that is not stored yet, with a log of its own."""
    return Header(session_id=session_id, log=new_log_id(session_id), **fields)


def commit(store: Any, header: Header, *drafts: Draft, now: float = 1.0, **fields: Any) -> Header:
    """Commit behind a header and return the next one."""
    entries, changes = stamp(header, Change(drafts, fields), now)
    store.commit(header.session_id, expected=header.version, entries=entries, changes=changes)
    return header.after(changes)


def say(text: str, **more: Any) -> Draft:
    """A message to be."""
    return Draft("message", {"role": "user", "content": text, **more})


class StoreFixtures:
    """Override `store_url`; for a store that cannot be opened by a URL, `open_store`."""

    many_processes = True  # False for a store that one process cannot share with another: those tests are left out
    seconds = 10.0  # that a simple test may take, about 1,000 calls; heavy ones may take longer, as their `patience` says

    @pytest.fixture
    def store_url(self) -> str:
        raise pytest.UsageError("define the fixture store_url: a URL that opens an empty store of yours")

    @pytest.fixture
    def open_store(self, store_url: str, request: pytest.FixtureRequest) -> Iterator[Callable[[], Any]]:
        """A function that opens the store, each time anew, on the same data."""
        opened: list[Any] = []

        def open_again() -> Any:
            opened.append(open_url(store_url))
            return opened[-1]

        yield open_again
        if not hung(request):
            within(self.seconds, f"close: {type(self).__name__}", lambda: [Driven(store).close() for store in opened])

    @pytest.fixture
    def open_driven(self, open_store: Callable[[], Any]) -> Callable[[], Driven]:
        """As `open_store`, for tests that call the store's methods themselves."""
        return lambda: Driven(open_store())

    @pytest.fixture
    def store(self, open_driven: Callable[[], Driven]) -> Driven:
        return within(self.seconds, f"opening: {type(self).__name__}", open_driven)

    @pytest.fixture
    def in_full(self, request: pytest.FixtureRequest) -> bool:
        """Are the heavy repetitions to run in full?"""
        return plugin.in_full(request.node)


def hung(request: pytest.FixtureRequest) -> bool:
    """Did a test of this store hang? A thread that was left behind may hold what its closing waits for."""
    return plugin.findings(request.config).hangs[type(request.instance).__name__] > 0
