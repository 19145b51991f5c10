"""Sessions that expire, in stores that have a `ttl`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessile.errors import Conflict, SessionNotFound
from sessile.session import Session
from sessile.session.managing.manager import SessionManager
from sessile.store.opening import open_store as open_url
from sessile.store.waist import Query
from sessile.testing.fixtures import Driven, StoreFixtures, born, capability, commit, hung, say

_LATE = 10.0  # seconds after its end that a session may still be seen, on a machine that is busy


class ExpiringTests(StoreFixtures):
    """Override `expiring_store_url` where the store has a `ttl`; `expiring_store`, where no URL opens it."""

    @pytest.fixture
    def expiring_store_url(self) -> str:
        """A URL that opens an empty store whose sessions expire about a second after their last change."""
        raise pytest.UsageError("define the fixture expiring_store_url, as store_url with a ttl of 1 s")

    @pytest.fixture
    def expiring_store(self, expiring_store_url: str, request: pytest.FixtureRequest) -> Iterator[Any]:
        """The store that it opens."""
        store = open_url(expiring_store_url)
        yield store
        if not hung(request):
            Driven(store).close()

    @capability("expiry", patience=3)
    def test_what_a_session_was_forked_from_lives_as_long(self, expiring_store: Any) -> None:
        store, ttl = expiring_store, expiring_store.ttl
        manager = SessionManager(store)
        root = Session("root", store=store)
        root.add_message("user", "a")
        Session("alone", store=store).add_message("user", "b")
        over = time.monotonic() + ttl
        child = root.fork(session_id="child").fork(session_id="grandchild")
        said = 0
        while time.monotonic() < over + ttl / 2:
            child.add_message("user", "c")
            said += 1
            time.sleep(ttl / 10)
        assert [message.text for message in child.messages] == ["a", *"c" * said]
        assert {header.session_id for header in manager.each()} == {"grandchild"}, "of the others, what it inherited is there"
        with pytest.raises(SessionNotFound, match="was deleted, or has expired, while it was open"):
            root.add_message("user", "d")
        again = Session("alone", store=store)  # its log may still lie there
        again.add_message("user", "anew")
        assert [message.text for message in again.messages] == ["anew"]
        _wait_until(lambda: not [*manager.each()])

    @capability("expiry", patience=3)
    def test_an_expired_session_is_none_for_every_method(self, expiring_store: Any) -> None:
        store = Driven(expiring_store)
        now = time.time()
        for name in ("~app", "touched", "s"):
            header = commit(store, born(name, user_id="ann"), say(name), now=now)
            if name == "touched":
                log = header.log
                store.touch(log, now + 3600)
        assert store.load("s") == header
        _wait_until(lambda: store.load("s") is None)
        assert store.find(Query(user_id="ann")).items == []
        for refused in (lambda: commit(store, header, say("late")), lambda: store.delete("s", expected=header.version)):
            with pytest.raises(Conflict) as caught:
                refused()
            assert caught.value.header is None
        new = commit(store, born("s", user_id="bob"), say("new"), now=time.time())
        assert store.load("s") == new
        assert [entry.body["content"] for entry in store.read(new.log, 0, 1)] == ["new"]
        _wait_until(lambda: store.load("s") is None)
        assert [entry.body["content"] for entry in store.read(log, 0, 1)] == ["touched"], "what is touched is kept"
        assert store.load("~app").user_id == "ann", "sessile's own records never expire"


def _wait_until(condition: Callable[[], bool]) -> None:
    over = time.monotonic() + _LATE
    while not condition():
        assert time.monotonic() < over, f"what had to expire is still there after {_LATE:g} s"
        time.sleep(0.02)
