"""`SessionManager.search` on every store without a server: odd texts and limits are found nothing for, or refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.stores import ALL, url_of

from sessile import SessionManager
from sessile.errors import InvalidInput


@pytest.fixture(scope="module", params=ALL)
def manager(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SessionManager:
    manager = SessionManager(url_of(request.param, tmp_path_factory.mktemp("store")))
    for user in ("ann", "bob"):
        session = manager.create_session(user, user)
        session.add_messages([("user", "a brown fox"), ("assistant", 'a "brown" bear* NEAR (me)')])
    return manager


@given(text=st.text(st.sampled_from("\"*:()^-+{}'\\%\0\ud800\x01 \nbrownNEARORé日")), limit=st.integers(0, 3) | st.just(10**30))
@example(text='"', limit=1)
@example(text="\0", limit=1)
@example(text="\ud800", limit=1)
@example(text="brown", limit=0)
@example(text="brown", limit=10**30)
def test_any_text_is_searched_for(manager: SessionManager, text: str, limit: int) -> None:
    hits = manager.search(text, limit=limit)
    assert len(hits) <= limit
    if any(c in text for c in "\0\ud800") or not text.strip():
        assert hits == []


def test_a_limit_is_kept(manager: SessionManager) -> None:
    assert [len(manager.search("brown", limit=limit)) for limit in (0, 1, 3, 4, 5)] == [0, 1, 3, 4, 4]
    assert {hit.session_id for hit in manager.search('"brown" NEAR', user_id="bob")} == {"bob"}
    assert manager.search("brown", user_id="\ud800") == manager.search("brown", user_id="\0") == []


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"text": None}, "text of a search is a string, not NoneType"),
        ({"text": b"x"}, "text of a search is a string, not bytes"),
        ({"text": "x", "user_id": 5}, "user_id of a search is a string, not int"),
        ({"text": "x", "limit": -1}, "limit of a search is a number of messages from 0, not -1"),
        ({"text": "x", "limit": None}, "not None"),
        ({"text": "x", "limit": True}, "not True"),
        ({"text": "x", "limit": "3"}, "not '3'"),
    ],
)
def test_what_cannot_be_searched_for_is_refused(manager: SessionManager, asked: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        manager.search(**asked)


def test_an_unknown_status_is_refused(manager: SessionManager) -> None:
    for ask in (manager.list, manager.each, manager.delete_inactive):
        with pytest.raises(InvalidInput, match="one of created, active, saved, archived, not 'nope'"):
            list(ask(status="nope"))  # type: ignore[operator]
    assert len(manager.list(status="active").items) == 2
