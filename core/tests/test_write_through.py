"""`session.state` and `session.metadata` as dicts: they write through, or say which verb writes."""

from __future__ import annotations

import asyncio
import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from sessile import AsyncSession, MemorySessionStore, Session
from sessile.errors import InvalidInput, InvalidState, ReadOnly, SessileError
from sessile.store import version_after


def assigned(held: Any) -> None:
    held["b"] = [1]


def joined(held: Any) -> None:
    held |= {"b": 1, "c": 2}


def deleted(held: Any) -> None:
    del held["a"]


CHANGES: dict[str, tuple[Callable[[Any], Any], dict[str, Any], Any]] = {
    "assign": (assigned, {"a": 1, "b": [1]}, None),
    "assign the same": (lambda held: held.__setitem__("a", True), {"a": True}, None),
    "update": (lambda held: held.update({"a": 2}, b=3), {"a": 2, "b": 3}, None),
    "update by pairs": (lambda held: held.update([("b", 3)]), {"a": 1, "b": 3}, None),
    "join": (joined, {"a": 1, "b": 1, "c": 2}, None),
    "delete": (deleted, {}, None),
    "pop": (lambda held: held.pop("a"), {}, 1),
    "pop a default": (lambda held: held.pop("z", 7), {"a": 1}, 7),
    "popitem": (lambda held: held.popitem(), {}, ("a", 1)),
    "setdefault": (lambda held: held.setdefault("b", {"x": 1}), {"a": 1, "b": {"x": 1}}, {"x": 1}),
    "setdefault of what is there": (lambda held: held.setdefault("a", 9), {"a": 1}, 1),
    "clear": (lambda held: held.clear(), {}, None),
}


@pytest.fixture
def store() -> MemorySessionStore:
    return MemorySessionStore()


@pytest.mark.parametrize("what", ["state", "metadata"])
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_one_commit(store: MemorySessionStore, what: str, name: str) -> None:
    session, other = Session("s", store=store, metadata={"a": 1}), Session("s", store=store)
    session.set_state("a", 1)
    before = store.load("s")
    change, expected, result = CHANGES[name]
    held = getattr(session, what)
    assert change(held) == result
    assert held == getattr(session, what) == getattr(other, what) == expected
    assert json.dumps(held) == json.dumps(getattr(other, what)), "True is not 1"
    after = store.load("s")
    assert before is not None
    assert after is not None
    once = version_after(before.version, after.commit)
    assert after.version == (before.version if name in ("pop a default", "setdefault of what is there") else once)


@pytest.mark.parametrize("what", ["state", "metadata", "title"])
def test_nothing_is_assigned_to_an_async_session(store: MemorySessionStore, what: str) -> None:
    session = AsyncSession("s", store=store)
    with pytest.raises(ReadOnly, match=rf"the {what} of an AsyncSession .*await session.(set|update)_{what}\("):
        setattr(session, what, {"a": 1})
    assert store.load("s") is None


@pytest.mark.parametrize("what", ["state", "metadata"])
@pytest.mark.parametrize("name", CHANGES)
def test_an_async_session_names_the_verb(store: MemorySessionStore, what: str, name: str) -> None:
    async def main() -> None:
        async with AsyncSession("s", store=store, metadata={"a": 1}) as session:
            await session.set_state("a", 1)
            held = await getattr(session, what)
            if name in ("pop a default", "setdefault of what is there"):  # these change nothing
                CHANGES[name][0](held)
            else:
                with pytest.raises(ReadOnly, match=f"await session.(set|update)_{what}"):
                    CHANGES[name][0](held)
            assert held == await getattr(session, what) == {"a": 1}

    asyncio.run(main())


@pytest.mark.parametrize("what", ["state", "metadata"])
def test_it_is_a_plain_dict_to_everybody_else(store: MemorySessionStore, what: str) -> None:
    session = Session("s", store=store, metadata={"a": {"b": [1]}})
    session.set_state("a", {"b": [1]})
    held, plain = getattr(session, what), {"a": {"b": [1]}}
    for copied in (
        held | {},
        {} | held,
        held.copy(),
        {**held},
        copy.copy(held),
        copy.deepcopy(held),
        pickle.loads(pickle.dumps(held)),
    ):
        assert type(copied) is dict
        assert copied == plain
    assert held == plain
    assert json.dumps(held) == json.dumps(plain)
    assert repr(held) == repr(plain)
    assert copy.deepcopy(held)["a"] is not held["a"]
    held["a"]["b"].append(2)  # a nested value is a copy
    assert getattr(session, what) == plain


@pytest.mark.parametrize("what", ["state", "metadata"])
def test_joining_to_the_property_keeps_what_others_set_meanwhile(what: str) -> None:
    class Busy(MemorySessionStore):
        """A store in which somebody else commits right behind a first commit."""

        def commit(self, *args: Any, **kwargs: Any) -> None:
            super().commit(*args, **kwargs)
            if others:
                others.pop()("theirs", 1)

    store = Busy()
    others: list[Any] = []
    session, other = Session("s", store=store), Session("s", store=store)
    others.append(lambda key, value: getattr(other, what).update({key: value}))
    if what == "state":
        session.state |= {"ours": 1}
    else:
        session.metadata |= {"ours": 1}
    getattr(other, what)["later"] = 1
    assert getattr(session, what) == {"ours": 1, "theirs": 1, "later": 1}
    before = store.load("s")
    setattr(session, what, {"only": [1]})
    assert getattr(other, what) == {"only": [1]}
    assert before is not None
    after = store.load("s")
    assert after is not None
    assert after.version == version_after(before.version, after.commit), "one commit"
    old = getattr(session, what)
    getattr(session, what)["new"] = 1
    setattr(session, what, old)
    assert getattr(other, what) == {"only": [1]}


def test_shared_scopes(store: MemorySessionStore) -> None:
    session, other = (Session(name, user_id="ann", store=store) for name in "so")
    session.state.update({"plain": 1, "user:language": "en", "app:motto": "stay", "temp:draft": 1})
    assert other.state == {"user:language": "en", "app:motto": "stay"}
    held = session.state
    held.clear()  # only what is the session's own
    assert held == session.state == other.state
    del session.state["app:motto"]
    assert session.state.pop("user:language") == "en"
    assert other.state == {}


def test_what_cannot_be_stored_is_refused_and_changes_nothing(store: MemorySessionStore) -> None:
    session = Session("s", store=store)
    for what, error in (("state", InvalidState), ("metadata", InvalidInput)):
        held = getattr(session, what)
        for key, value in (("k", {1}), ("k", float("nan")), (5, 1)):
            with pytest.raises(error, match=what):
                held[key] = value
        with pytest.raises(KeyError):
            del held["missing"]
        with pytest.raises(KeyError):
            held.popitem()
        held.update()
        held.clear()
        assert held == {}
    assert store.load("s") is None
    with pytest.raises(SessileError, match="state is 5"):
        session.state = 5
    held = session.state
    session.close()
    with pytest.raises(SessileError, match="is closed"):
        held["k"] = 1
    assert held == {}


@pytest.mark.parametrize("what", ["state", "metadata"])
def test_what_was_joined_and_then_changed_inside_is_assigned(store: MemorySessionStore, what: str) -> None:
    session = Session("s", store=store)
    held = getattr(session, what)
    held |= {"a": {}}
    held["a"]["inside"] = 1
    setattr(session, what, held)
    assert getattr(session, what) == getattr(Session("s", store=store), what) == {"a": {"inside": 1}}


def test_keys_of_metadata_that_others_set_meanwhile_stay() -> None:
    store = MemorySessionStore()

    async def main() -> None:
        async with AsyncSession("s", store=store, metadata={"a": 1, "gone": 1}) as one, AsyncSession("s", store=store) as other:
            await one.create()
            await other.exists()
            await one.update_metadata({"b": 2}, remove=["gone", "never there"])
            await other.update_metadata({"c": 3})
            assert await one.metadata == {"a": 1, "b": 2, "c": 3}

    asyncio.run(main())


def test_what_was_joined_is_assigned_anew_where_others_changed_it() -> None:
    store = MemorySessionStore()
    session = Session("s", store=store)
    held = session.state
    held |= {"a": 1}
    Session("s", store=store).set_state("a", 2)
    assert session.get_state("a") == 2
    session.state = held
    assert session.state == {"a": 1}
