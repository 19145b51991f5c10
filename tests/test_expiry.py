"""Sessions that expire, on the stores that have a `ttl`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sessile import Session, SessionManager
from sessile.stores import open_store
from tests.servers import MongoServer, wait_until

TTL = 1.0  # seconds: nothing that is said on a slow machine takes as long


@pytest.fixture(params=["redis", "mongodb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database. A secantusdb is the test's own: while it removes what has expired, it may answer nobody."""
    server = request.getfixturevalue(f"{request.param}_server")
    own = MongoServer(tmp_path) if isinstance(server, MongoServer) else None
    yield (own or server).url()
    if own:
        own.stop()


def test_what_a_session_was_forked_from_lives_as_long(url: str) -> None:
    with closing(open_store(f"{url}?ttl={TTL}")) as store, SessionManager(store) as manager:
        root = Session("root", store=store)
        root.add_message("user", "a")
        Session("alone", store=store).add_message("user", "b")
        over = time.monotonic() + TTL
        child = root.fork(session_id="child").fork(session_id="grandchild")
        said = 0
        while time.monotonic() < over + TTL / 2:
            child.add_message("user", "c")
            said += 1
            time.sleep(TTL / 10)
        assert [message.text for message in child.messages] == ["a", *"c" * said]
        assert {header.session_id for header in manager.each()} == {"grandchild"}, "of the others, what it inherited is there"
        again = Session("alone", store=store)  # in MongoDB it may still lie there: the server looks once a minute
        again.add_message("user", "anew")
        assert [message.text for message in again.messages] == ["anew"]
        wait_until(lambda: _nothing_in(manager), "the end of all sessions", TTL * 5)


def _nothing_in(manager: SessionManager) -> None:
    assert [*manager.each()] == []
