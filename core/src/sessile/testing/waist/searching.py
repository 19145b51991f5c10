"""What a search finds, by examples: the same in a store with an index of its own, and in one that is read through for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from sessile.errors import AccessDenied, InvalidInput
from sessile.session.managing.manager import SessionManager
from sessile.store.text.query import SearchQuery
from sessile.testing.fixtures import StoreFixtures, capability

# What was said, what is asked for, whether it is found.
SEARCHES = (
    ("Your parcel is late.", "late parcel", True),
    ("Your parcel is late.", "parc", False),
    ("Your parcel is late.", "parcel soon", False),
    ("Your parcel is late.", "  LATE,\n(is)! ", True),
    ("Your parcel is late.", "!!", False),
    ("Really?!!", "!!", False),
    ("don't", "don't", True),
    ("don't", "t don", True),
    ("don't", "dont", False),
    ("snake_case and co-op", "case op", True),
    ("snake_case and co-op", "snake_c", False),
    ("this OR that", "or", True),
    ("this OR that", "this OR other", False),
    ("near", "NEAR(near, 2)", False),
    ("near 2", "NEAR(near, 2)", True),
    ("Größe", "GRÖSSE", True),
    ("Größe", "grosse", True),
    ("Größe", "grobe", False),
    ("e\u0301tude", "étude", True),
    ("étude", "Etude", True),
    ("tiếng Việt", "tieng viet", True),
    ("ΟΔΟΣ", "οδός", True),
    ("мой йод", "ИОД", True),
    ("日本語、テスト", "テスト", True),
    ("日本語", "日本", False),
    ("version 3.14", "14", True),
    ("version 3.14", "1", False),
    ("hi\U0001f600there", "there hi", True),
    ("a brown fox", '"brown FOX"', True),
    ("a fox, brown", '"brown fox"', False),
    ("brown, or a brown fox", '"brown fox" or', True),
    ("brown and fox", '"brown fox', True),
    ("the parcels", "parc*", True),
    ("the parcels", "the* par*", True),
    ("unparcelled", "parc*", False),
    ("the parcels came", '"the parc"*', True),
    ("the late parcels", '"the parc"*', False),
    ("a star * alone", "*", False),
    ("user: ann", "user: ann", True),
    ("see user:ann", '"user:ann"', True),
    ("c'est l'été", "l'ete*", True),
)


class SearchTests(StoreFixtures):
    """`SessionManager.search` over the store."""

    @capability("search")
    def test_search_finds_whole_words_whatever_their_case_and_accents(self, store: Any) -> None:
        manager = SessionManager(store.store)
        for index, (said, _, _) in enumerate(SEARCHES):
            manager.create_session(f"user-{index}").add_message("user", said)
        hits = [manager.search(asked, user_id=f"user-{index}") for index, (_, asked, _) in enumerate(SEARCHES)]
        found = [(*row[:2], [hit.message.text for hit in there] == [row[0]]) for row, there in zip(SEARCHES, hits, strict=True)]
        assert found == [*SEARCHES]

    @capability("search")
    def test_search_finds_what_counts(self, store: Any) -> None:
        manager = SessionManager(store.store)
        for user, text in (("ann", "the quick brown fox"), ("bob", 'a brown bear; don\'t "quote" me*'), ("ann", "grey owl")):
            session = manager.create_session(user)
            session.add_message("user", text)
        assert sorted(hit.message.text[:6] for hit in manager.search("brown")) == ["a brow", "the qu"]
        assert [hit.message.text for hit in manager.search("brown", user_id="ann")] == ["the quick brown fox"]
        if hasattr(store.store, "search"):  # what is another's must not fill the pages that the core asks for
            mine = store.search(SearchQuery.parse("brown user:ann"), 10, 0)
            assert len(mine) == 1
            assert mine[0][0] in {header.log for header in manager.list(user_id="ann")}
        assert manager.search("brown owl") == manager.search("unheard-of") == []
        assert [hit.message.text[:6] for hit in manager.search('"quote" me*')] == ["a brow"]
        session.set_history([("user", "white owl")])
        assert [hit.message.text for hit in manager.search("owl")] == ["white owl"]

    @capability("search")
    def test_search_finds_what_forks_inherit_once(self, store: Any) -> None:
        manager = SessionManager(store.store)
        root = manager.create_session("ann", session_id="root")
        root.add_messages([("user", f"needle {number}") for number in range(4)])
        child = root.fork(3, "child")
        child.add_message("user", "needle of child")
        grandchild = child.fork(2, "grandchild")
        root.fork(1, "another")

        def found() -> list[tuple[str, str]]:
            hits = manager.search("needle")
            assert sorted(manager.search("needle", user_id="ann"), key=repr) == sorted(hits, key=repr)
            assert manager.search("needle", user_id="bob") == []
            assert len({hit.message["id"] for hit in hits}) == len(hits)
            return sorted((hit.message.text.removeprefix("needle "), hit.session_id) for hit in hits)

        all_of_root = [(str(number), "root") for number in range(4)]
        assert found() == [*all_of_root, ("of child", "child")]
        back = root.revert(1)  # which takes nothing from its forks
        assert found() == [("0", "root"), ("1", "child"), ("2", "child"), ("of child", "child")]
        root.revert(back)
        manager.delete("child")
        assert found() == all_of_root
        root.set_history([])
        assert found() == [("0", "grandchild"), ("1", "grandchild")]
        grandchild.set_history([])
        assert found() == [("0", "another")]
        manager.delete("root")
        assert found() == [("0", "another")]
        manager.delete("another")
        assert found() == []

    @capability("search")
    def test_search_is_narrowed_by_filters(self, store: Any) -> None:
        manager = SessionManager(store.store)
        for name in ("ann", "bob b"):
            session = manager.create_session(name, session_id=f"of {name}")
            session.add_messages([("user", f"needle of {name}"), ("assistant", "found the needle")])
        session.fork(1, "fork").add_message("user", "a needle more")
        day = datetime.now(UTC)

        def found(asked: str, **how: Any) -> list[tuple[str, str]]:
            return sorted((hit.session_id, hit.message.text) for hit in manager.search(asked, **how))

        everything = found("needle")
        assert len(everything) == 5
        assert found("needle user:ann") == found("needle", user_id="ann") == everything[1:3]
        assert found('needle user:"bob b"') == [everything[0], *everything[3:]]
        assert found('session:"of ann" needle') == everything[1:3]
        assert found("needle session:fork") == [("fork", "a needle more"), ("fork", "needle of bob b")]
        assert found("needle session:fork user:ann") == found("needle session:nobody") == []
        assert found(f"needle after:{day - timedelta(days=1):%Y-%m-%d}") == everything
        assert found(f"needle after:{day + timedelta(days=1):%Y-%m-%dT%H:%M}") == []
        assert manager.user("ann").search("needle session:fork") == []
        with pytest.raises(AccessDenied):
            manager.user("ann").search('needle user:"bob b"')
        for asked in ("needle after:noon", "needle user:a user:b", 'session:"" needle'):
            with pytest.raises(InvalidInput):
                manager.search(asked)
        with pytest.raises(InvalidInput):
            manager.search("needle user:ann", user_id="bob b")

    @capability("search")
    def test_search_shows_where_it_was_found(self, store: Any) -> None:
        manager = SessionManager(store.store)
        text = f"{'far ' * 100}the Late\nparcél {'away ' * 100}"
        manager.create_session("ann").add_message("user", text)
        (hit,) = manager.search('"late parc"* the')
        assert [text[begin:end] for begin, end in hit.marks] == ["the", "Late\nparcél"]
        snippet = hit.snippet(before="[", after="]")
        assert "far [the] [Late parcél] away" in snippet
        assert snippet[0] == snippet[-1] == "…"
        assert len(snippet) <= 180

    @capability("search")
    def test_search_finds_what_was_inherited_from_another_user(self, store: Any) -> None:
        manager = SessionManager(store.store)
        session = manager.create_session("ann", session_id="hers")
        session.add_messages([("user", "needle one"), ("user", "needle two")])
        session.fork(1, "his", user_id="bob").add_message("user", "needle three")
        session.add_message("user", "needle four")

        def found(asked: str) -> list[tuple[str, str]]:
            return sorted((hit.session_id, hit.message.text.removeprefix("needle ")) for hit in manager.search(asked))

        for _ in range(2):
            assert found("needle user:bob") == [("his", "one"), ("his", "three")]
            assert found("needle user:ann") == [("hers", "four"), ("hers", "one"), ("hers", "two")]
        manager.delete("hers")
        assert found("needle") == found("needle user:bob") == [("his", "one"), ("his", "three")]
        assert found("needle user:ann") == []

    @capability("search")
    def test_search_is_complete_however_many_are_asked_for_and_the_best_come_first(self, store: Any) -> None:
        manager = SessionManager(store.store)
        live = set()
        for number in range(6):
            session = manager.create_session("ann")
            session.add_messages([("user", f"apple {'pear ' * (other % 4)}{number} {other}") for other in range(20)])
            session.revert(number % 3)
            live |= {message.id for message in session.messages}
        for limit in (len(live), len(live) + 1, 50, 1000):
            assert {hit.message.id for hit in manager.search("apple", limit=limit)} == live
        if hasattr(store.store, "search"):
            manager.create_session("ann").add_message("user", f"apple {'padding ' * 50}")
            manager.create_session("ann").add_message("user", "apple apple apple apple")
            assert manager.search("apple")[0].message.text == "apple apple apple apple"
