"""Whose a session is: a user's and an application's; ids made of anything; what is stored, and what is not yet."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.stores import ALL, url_of

from sessile import AsyncSession, MemorySessionStore, Session, SessionManager, encode_id
from sessile.errors import AccessDenied, InvalidSessionId

_texts = st.text(st.characters() | st.sampled_from("%/\\. ~\n"), max_size=8) | st.text("ab%", min_size=253, max_size=257)


@settings(max_examples=1000)
@given(st.lists(_texts, min_size=1, max_size=3), st.lists(_texts, min_size=1, max_size=3))
def test_any_texts_have_an_id_of_their_own(one: list[str], other: list[str]) -> None:
    assert all(
        Session(encode_id(*texts), user_id=encode_id(*texts), store=MemorySessionStore()).create() for texts in (one, other)
    )
    assert (encode_id(*one) == encode_id(*other)) == (one == other)


def test_a_text_that_can_be_an_id_is_its_own() -> None:
    assert encode_id("user-42/main") == "user-42/main"
    assert encode_id("thread", "a b") == "thread%/a b"
    assert encode_id("~x") == "%7ex"
    with pytest.raises(InvalidSessionId, match="7 is no text"):
        encode_id("a", 7)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ALL)
def test_an_application_has_state_of_its_own(kind: str, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path)
    with Session("a", app="shop", store=url) as shop, Session("b", store=shop.store) as none:
        shop.set_state({"app:greeting": "Hello", "own": 1})
        none.set_state({"app:greeting": "Hi", "own": 2})
        child = shop.fork()
        for session in (Session("a", store=shop.store), Session("c", app="shop", store=shop.store), child):
            assert (session.app, session.get_state("app:greeting")) == ("shop", "Hello")
        assert Session("d", app="bank", store=shop.store).get_state("app:greeting") is None
        assert none.get_state("app:greeting") == "Hi"
        with pytest.raises(AccessDenied, match="'a' belongs to application 'shop', not to 'bank'"):
            Session("a", app="bank", store=shop.store)
        with pytest.raises(AccessDenied, match="'b' belongs to no application"):
            Session("b", app="shop", store=shop.store).set_state("app:greeting", "Hey")
        assert SessionManager(shop.store).clear_all() == 3
        assert Session("e", app="shop", store=shop.store).get_state("app:greeting") is None


@pytest.mark.parametrize("way", ["save", "export"])
def test_a_file_knows_its_application(way: str, tmp_path: Path) -> None:
    session = Session("s", app="shop", store=MemorySessionStore())
    session.add_message("user", "one")
    path = getattr(session, way)(tmp_path / "s.jsonl")
    assert Session.load(path, store=MemorySessionStore()).app == "shop"
    assert Session.load(path, app="bank", store=MemorySessionStore()).app == "bank"
    assert SessionManager(MemorySessionStore()).import_session(path).get_context()["app"] == "shop"
    assert Session.from_dict(session.to_dict()).app == "shop"


@pytest.mark.parametrize("kind", ALL)
def test_a_fork_for_another_user_is_a_copy(kind: str, tmp_path: Path) -> None:
    with Session("s", user_id="ann", store=url_of(kind, tmp_path)) as session:
        store, manager = session.store, SessionManager(session.store)
        session.set_state({"own": 1, "user:secret": 2})
        session.add_messages([("user", "a parcel"), ("assistant", "is late")])
        session.append("test.note", {"n": 1})
        session.add_message("user", "a secret")
        child = session.fork(2, "t", user_id="bob", title="Help")
        assert ([m.content for m in child.messages], child.state) == (["a parcel", "is late"], {"own": 1})
        assert (child.user_id, child.title, child.parent, child.entries("test.note")) == ("bob", "Help", None, [])
        assert [entry.body for entry in session.fork(user_id="bob").entries("test.note")] == [{"n": 1}]
        assert session.children() == []
        assert [node["session_id"] for node in (session.tree(), child.tree())] == ["s", "t"]
        assert "s" not in {hit.session_id for hit in manager.search("parcel", user_id="bob")}
        assert [hit.session_id for hit in manager.search("secret", user_id="ann")] == ["s"]
        assert session.fork(user_id="ann").parent == "s"
        with pytest.raises(AccessDenied):
            Session("t", user_id="ann", store=store)
        session.delete(cascade=True)
        assert manager.delete_user("ann") == 0
        assert [m.content for m in Session("t", store=store).messages] == ["a parcel", "is late"]
        assert child.verify()


def test_a_session_is_stored_once() -> None:
    store = MemorySessionStore()

    async def both() -> list[bool]:
        async with AsyncSession("s", store=store, on_conflict="raise") as one, AsyncSession("s", store=store) as other:
            there = [await one.exists(), *await asyncio.gather(one.create("One"), other.create("One")), await other.exists()]
            await other.add_message("user", "hello")
            assert await one.create("Another") is False
            assert await one.title == "One"
            return there

    there = asyncio.run(both())
    assert (there[0], sorted(there[1:3]), there[3]) == (False, [False, True], True)
    session = Session("t", user_id="ann", metadata={"k": 1}, store=store)
    assert (session.exists(), session.create("T"), session.create("U"), session.exists()) == (False, True, False, True)
    assert (session.title, session.metadata, session.status) == ("T", {"k": 1}, "created")


@pytest.mark.parametrize("kind", ALL)
def test_a_message_is_found_by_its_id_alone(kind: str, tmp_path: Path) -> None:
    with Session("s", user_id="ann", store=url_of(kind, tmp_path)) as session:
        said = [session.add_message("user", f"number {n}") for n in range(3)]
        Session("other", user_id="bob", store=session.store).add_message("user", "else")
        child = session.fork()
        manager = SessionManager(session.store)
        hit = manager.message(str(said[1].id))
        assert hit is not None
        assert (hit.session_id, hit.message) == ("s", said[1])
        assert manager.message(str(said[1].id), user_id="bob") is manager.message("nobody's") is None
        session.revert(1)
        hit = manager.message(str(said[1].id))
        assert hit is not None
        assert hit.session_id == child.session_id


def test_sessions_of_two_applications_are_neither_merged_nor_compared() -> None:
    store = MemorySessionStore()
    shop, bank = Session("a", app="shop", store=store), Session("b", app="bank", store=store)
    for session in (shop, bank):
        session.add_message("user", "secret")
    for look in (shop.merge, shop.diff, shop.merge_sessions):
        with pytest.raises(AccessDenied, match="another user or application"):
            look(bank)
