"""`SessionManager.search` on every store without a server: odd texts and limits are found nothing for, or refused by name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.faces import FACES, manager_opener
from tests.stores import ALL, url_of

from sessile import MemorySessionStore, SessionManager
from sessile.errors import CorruptStore, InvalidInput, Missing, SessionNotFound
from sessile.log.entries import Entry
from sessile.log.header import Header
from sessile.store import SearchQuery, words

USERS = ("ann", "bob")
FOX, BEAR = "a brown fox", 'a "brown" bear* NEAR (me)'
WORDS = {FOX: ["a", "brown", "fox"], BEAR: ["a", "brown", "bear", "near", "me"]}


@pytest.fixture(scope="module", params=[(name, face) for name in ALL for face in FACES], ids="-".join)
def manager(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    name, face = request.param
    with (
        closing(asyncio.new_event_loop()) as loop,
        manager_opener(face, loop)(url_of(name, tmp_path_factory.mktemp("store"))) as manager,
    ):
        for user in USERS:
            session = manager.create_session(user, session_id=user)
            session.add_messages([("user", FOX), ("assistant", BEAR)])
        yield manager


def _asked(text: str) -> list[tuple[list[str], bool]]:
    """(words, is the last one a beginning) of each term of a text without filters."""
    terms = []
    for phrase, star, plain in re.findall(r'"([^"]*)"(\*?)|([^\s"]+)', text.casefold().replace("é", "e")):
        found = re.findall(r"[^\W_]+", phrase or plain)
        if plain:
            terms += [([word], plain[-1] == "*" and number == len(found)) for number, word in enumerate(found, 1)]
        elif found:
            terms.append((found, bool(star)))
    return terms


def _has(said: str, terms: list[tuple[list[str], bool]]) -> bool:
    text = " " + " ".join(WORDS[said]) + " "
    return all(f" {' '.join(found)}{'' if open_ else ' '}" in text for found, open_ in terms)


@given(text=st.text(st.sampled_from("\"*:()^-+{}'\\%\0\x01 \nbrownNEARORé日")), limit=st.integers(0, 3) | st.just(10**18))
@example(text='"', limit=1)
@example(text="\0", limit=1)
@example(text="brown", limit=0)
@example(text="brown", limit=10**18)
@example(text='near "bROWN', limit=3)
@example(text="bro", limit=3)
@example(text="bro*", limit=3)
@example(text='"brown b"* ne*', limit=3)
def test_any_text_is_searched_for(manager: Any, text: str, limit: int) -> None:
    hits = manager.search(text, limit=limit)
    terms = _asked(text)
    found = [said for said in WORDS if terms and "\0" not in text and _has(said, terms)]
    assert len(hits) == min(limit, len(USERS) * len(found))
    assert len({(hit.session_id, hit.message.text) for hit in hits}) == len(hits), "each once"
    assert {hit.message.text for hit in hits} <= {*found}


def test_a_limit_is_kept(manager: Any) -> None:
    assert [len(manager.search("brown", limit=limit)) for limit in (0, 1, 3, 4, 5)] == [0, 1, 3, 4, 4]
    assert {hit.session_id for hit in manager.search('"brown" NEAR', user_id="bob")} == {"bob"}


def test_what_cannot_be_searched_for_is_refused(manager: Any) -> None:
    users = [{"text": "x", "user_id": user_id} for user_id in ("\ud800", "\0", "")]
    for asked in ({"text": "\ud800"}, *users, {"text": "x", "limit": -1}):
        with pytest.raises(InvalidInput, match=[*asked][-1].replace("_", ".")):
            manager.search(**asked)


def test_an_unknown_status_is_refused(manager: Any) -> None:
    for ask in (manager.list, manager.each, manager.delete_inactive):
        with pytest.raises(InvalidInput, match="'nope' does not exist: use one of created, active, saved, archived"):
            list(ask(status="nope"))  # type: ignore[operator]
    assert len(manager.list(status="active").items) == 2


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ({"prefix": "~"}, "prefix '~' is of sessile's own records"),
        ({"prefix": "~heirs:"}, "prefix '~heirs:' is of"),
        ({"status": "deleted"}, "status 'deleted' is internal"),
        ({"status": "pending"}, "status 'pending' is internal"),
        ({"nope": 1}, "has no parameter 'nope': it has user_id, status, "),
        ({"prefixes": "a"}, "has no parameter 'prefixes': did you mean 'prefix'"),
    ],
)
def test_what_is_no_session_is_listed_for_nobody(manager: Any, query: dict[str, Any], why: str) -> None:
    for one in (manager, manager.user("ann")):
        for ask in (one.list, one.each):
            with pytest.raises(InvalidInput, match=why):
                ask(**query)  # `each`, too, before anything is read


class Scanned(MemorySessionStore):
    """A store in which a session cannot be read, once it is named. faults: (method, session or log id) -> what that raises."""

    def __init__(self) -> None:
        super().__init__()
        self.faults: dict[tuple[str, str], Exception] = {}

    def load(self, session_id: str) -> Header | None:
        self._fail("load", session_id)
        return super().load(session_id)

    def read(self, log: str, *args: Any) -> list[Entry]:
        self._fail("read", log)
        return super().read(log, *args)

    def _fail(self, method: str, name: str) -> None:
        if (method, name) in self.faults:
            raise self.faults[method, name]


class Indexed(Scanned):
    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]]:
        hits = [(log, e.position) for log in self.logs() for e in self.entries(log) if query.matches(str(e.body))]
        return hits[offset : offset + limit]


@pytest.mark.parametrize("gone", [CorruptStore("broken"), Missing("cut"), SessionNotFound("deleted")])
@pytest.mark.parametrize(("kind", "method"), [(Scanned, "load"), (Scanned, "read"), (Indexed, "load")])
def test_a_session_that_cannot_be_read_hides_no_hit_of_the_others(kind: Any, method: str, gone: Exception) -> None:
    store = kind()
    manager = SessionManager(store)
    for name in "123":
        manager.create_session(session_id=name).add_message("user", "a brown fox")
    manager.get_session("3").fork(session_id="fork")  # type: ignore[union-attr]
    manager.delete("3")  # its log is left to an heir
    assert sorted({hit.session_id for hit in manager.search("fox")}) == ["1", "2", "fork"]
    store.faults[method, "2" if method == "load" else store.load("2").log] = gone
    assert sorted({hit.session_id for hit in manager.search("fox")}) == ["1", "fork"]


class GivesUp(Scanned):
    """An index that cannot be asked any more for a second page."""

    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        return [(log, entry.position) for log in self.logs() for entry in self.entries(log)][:5] if not offset else None


def test_an_index_that_gives_up_between_two_pages_hides_nothing() -> None:
    manager = SessionManager(GivesUp())
    session = manager.create_session(session_id="s")
    session.add_messages([("user", f"fox {number}") for number in range(10)])
    for asked in ("fox", "fox session:s"):
        assert sorted(hit.message.text for hit in manager.search(asked)) == [f"fox {number}" for number in range(10)]
    assert manager.search("fox session:nobody") == []


@given(text=st.text(st.characters(codec="utf-8") | st.sampled_from("e\u0301か\u3099 \u034f\u064bß_'")))
@example(text="か\u3099き")
@example(text="قلب\u064b نور")
def test_what_is_marked_are_the_words_that_are_compared(text: str) -> None:
    found = words(text)
    hit = SearchQuery.parse(" ".join(f'"{word}"' for word in found)).marks(text)
    assert bool(hit) == bool(found)
    assert {word for begin, end in hit for word in words(text[begin:end])} == {*found}


@pytest.mark.parametrize("asked", ['user:"bob b', 'needle session:"s', 'after:"2026'])
def test_a_filter_whose_quote_has_no_end_is_refused(asked: str) -> None:
    with pytest.raises(InvalidInput, match="whose quote has no end"):
        SessionManager(MemorySessionStore()).search(asked)
