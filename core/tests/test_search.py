"""`SessionManager.search` on every store without a server: odd texts and limits are found nothing for, or refused by name."""

from __future__ import annotations

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


@given(text=st.text(st.sampled_from("\"*:()^-+{}'\\%\0\x01 \nbrownNEARORé日")), limit=st.integers(0, 3) | st.just(10**18))
@example(text='"', limit=1)
@example(text="\0", limit=1)
@example(text="brown", limit=0)
@example(text="brown", limit=10**18)
def test_any_text_is_searched_for(manager: SessionManager, text: str, limit: int) -> None:
    hits = manager.search(text, limit=limit)
    assert len(hits) <= limit
    if "\0" in text or not text.strip():
        assert hits == []


def test_a_limit_is_kept(manager: SessionManager) -> None:
    assert [len(manager.search("brown", limit=limit)) for limit in (0, 1, 3, 4, 5)] == [0, 1, 3, 4, 4]
    assert {hit.session_id for hit in manager.search('"brown" NEAR', user_id="bob")} == {"bob"}
    assert manager.search("brown", user_id="\0") == []


def test_what_cannot_be_searched_for_is_refused(manager: SessionManager) -> None:
    for asked in ({"text": "\ud800"}, {"text": "x", "user_id": "\ud800"}, {"text": "x", "limit": -1}):
        with pytest.raises(InvalidInput, match=[*asked][-1]):
            manager.search(**asked)


def test_an_unknown_status_is_refused(manager: SessionManager) -> None:
    for ask in (manager.list, manager.each, manager.delete_inactive):
        with pytest.raises(InvalidInput, match="'nope' does not exist: use one of created, active, saved, archived"):
            list(ask(status="nope"))  # type: ignore[operator]
    assert len(manager.list(status="active").items) == 2
