"""Races without chance: another actor does something between two calls of an operation, at each place in turn.

What happens after a call happens before the next one, so every place is one "before a call", and the end. What is checked
is what the core promises with any store: nothing that was acknowledged is lost, no fork lacks what it inherited, nobody
reads another user's messages, and nothing is left of what is deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest

from sessile.drive.faces import Blocking, run
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import delete_session
from sessile.errors import CorruptStore, SessileError
from sessile.log.header import Header
from sessile.session import Session
from sessile.session.managing.manager import SessionManager
from sessile.store.memory import MemorySessionStore
from sessile.testing.fixtures import Driven, StoreFixtures, capability, headers, only_in_full
from sessile.transfer.copying import copy_store

_MOST = 500  # calls of one operation


class Between:
    """A store before whose call number `call` somebody else has a turn."""

    def __init__(self, store: Any, call: int, turn: Callable[[], None]) -> None:
        self._store, self._left, self._turn = store, call, turn

    @property
    def had_turn(self) -> bool:
        return self._left < 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return partial(self._called, method) if callable(method) else method

    def _called(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._left -= 1
        if self._left == -1:
            self._turn()
        return method(*args, **kwargs)


@attrs.define
class World:
    """What happened in a store to the sessions "<name>s", "<name>f", … Their texts begin with their user's letter.

    said: what was acknowledged, with the log it is in. inherited: by log of a fork, what it began with. deleted: logs that
    somebody asked to delete.
    """

    name: str
    store: Any
    said: list[tuple[str, str]] = attrs.field(factory=list)
    inherited: dict[str, list[str]] = attrs.field(factory=dict)
    deleted: set[str] = attrs.field(factory=set)

    def load(self, who: str) -> Header | None:
        """The header that is there now. No call of the operation that is under test."""
        header: Header | None = Driven(self.store).load(self.name + who)
        return header

    def sessions(self) -> Iterator[tuple[str, Header]]:
        """The sessions that are there for users."""
        for who in "sftu":
            if (header := self.load(who)) is not None and not header.hidden:
                yield who, header


# -- what actors do, each through its own opening of the store


def say(store: Any, world: World, who: str, text: str) -> None:
    session = Session(world.name + who, user_id=text[0], store=store, timeout=5)
    session.add_message("user", text)
    assert session._handle.seen
    world.said.append((session._handle.seen.log, text))


def fork(store: Any, world: World, who: str, child: str) -> None:
    session = Session(world.name + who, user_id="a", store=store, timeout=5)
    texts = [message.text for message in session.messages]
    log = session._handle.seen.log if session._handle.seen else ""
    session.fork(session_id=world.name + child)
    if (header := world.load(child)) is not None and log and header.parent == log:
        world.inherited[header.log] = texts


def delete(store: Any, world: World, who: str, *, cascade: bool = False) -> None:
    if (meant := world.load(who)) is not None:
        below = [h.log for _, h in world.sessions() if any(row.log == meant.log for row in h.ancestors)]
        world.deleted.update([meant.log, *(below if cascade else ())])
        run(delete_session(Commits(Blocking(), store), meant.session_id, log=meant.log, cascade=cascade))
        now = world.load(who)
        assert now is None or now.log != meant.log or now.hidden, "it was deleted, and is there"


def begin_anew(store: Any, world: World) -> None:
    delete(store, world, "s")
    say(store, world, "s", "b new")


def read(store: Any, world: World, who: str) -> None:
    texts = [message.text for message in Session(world.name + who, user_id="a", store=store).messages]
    assert {text[0] for text in texts} <= {"a"}, f"a reader was shown another user's messages: {texts}"


def copy_in(store: Any, world: World) -> None:
    source = MemorySessionStore()
    Session(f"{world.name}t", user_id="c", store=source).add_message("user", "c copied")
    copied = copy_store(source, store).sessions
    if copied and (header := world.load("t")) is not None:
        world.said.append((header.log, "c copied"))


def copy_out(store: Any, world: World) -> None:
    target = World(world.name, MemorySessionStore())
    copy_store(store, target.store)
    check(target)


# -- what has to be true


def check(world: World) -> None:
    """Each session that is there is whole and one user's; what was acknowledged is there, or was to be deleted."""
    there = dict(world.sessions())
    for who, header in there.items():
        session = Session(world.name + who, store=world.store)
        texts = [message.text for message in session.messages]
        found = session.verify()
        assert found, f"session {who!r} is not whole: {found.problem}"
        assert session.message_count == len(texts)
        assert {text[0] for text in texts} <= {header.user_id}, f"session {who!r} has another user's messages: {texts}"
        inherited = world.inherited.get(header.log, [])
        assert texts[: len(inherited)] == inherited, f"fork {who!r} has lost what it inherited"
        lost = {text for log, text in world.said if log == header.log} - {*texts}
        assert not lost, f"session {who!r} has lost {lost}"
    logs = {header.log for header in there.values()}
    for log, text in world.said:
        assert log in logs or log in world.deleted, f"{text!r} is gone, and nobody deleted it"


def check_nothing_left(world: World) -> None:
    """Nothing is left once all sessions are deleted."""
    with SessionManager(world.store) as manager:
        for who in "sftu":
            manager.delete(world.name + who)
            assert not manager.exists(world.name + who)
        assert not [log for log in Driven(world.store).logs() if f".{world.name}" in log]
        assert not [header for header in headers(world.store, prefix="~") if f".{world.name}" in header.session_id]


def family(name: str, store: Any) -> World:
    """A session of user a, and a fork of it with a message of its own."""
    world = World(name, store)
    parent = Session(f"{name}s", user_id="a", store=store)
    parent.add_messages([("user", "a 1"), ("user", "a 2")])
    parent.fork(1, f"{name}f").add_message("user", "a 3")
    own, child = world.load("s"), world.load("f")
    assert own
    assert child
    world.said = [(own.log, "a 1"), (own.log, "a 2"), (child.log, "a 3")]
    world.inherited = {child.log: ["a 1"]}
    return world


FORK, FORK_FORK = partial(fork, who="s", child="t"), partial(fork, who="f", child="t")
DELETE, DELETE_FORK, DELETE_ALL = partial(delete, who="s"), partial(delete, who="f"), partial(delete, who="s", cascade=True)
Race = tuple[Callable[..., None], Callable[..., None]]  # an operation, and what another does meanwhile
RACES: dict[str, Race] = {
    "fork, begin the parent anew": (FORK, begin_anew),
    "fork a fork, delete it": (FORK_FORK, DELETE_FORK),
    "delete, fork": (DELETE, FORK),
    "begin anew, begin anew": (begin_anew, begin_anew),
    "say, begin anew": (partial(say, who="s", text="a 4"), begin_anew),
    "read a fork, begin the parent anew": (partial(read, who="f"), begin_anew),
    "copy in, copy in": (copy_in, copy_in),
    "copy out, begin anew": (copy_out, begin_anew),
}
MORE_RACES: dict[str, Race] = {
    "fork, fork under the same id": (FORK, FORK_FORK),
    "fork, say under the same id": (FORK, partial(say, who="t", text="a mine")),
    "fork a fork, delete all": (FORK_FORK, DELETE_ALL),
    "delete, say": (DELETE, partial(say, who="s", text="a 4")),
    "delete, begin anew": (DELETE, begin_anew),
    "delete, delete the fork": (DELETE, DELETE_FORK),
    "delete a fork, fork it": (DELETE_FORK, FORK_FORK),
    "delete all, fork a fork": (DELETE_ALL, FORK_FORK),
    "begin anew, fork": (begin_anew, FORK),
    "read, begin anew": (partial(read, who="s"), begin_anew),
    "copy in, say under the same id": (copy_in, partial(say, who="t", text="c mine")),
    "copy out, delete the fork": (copy_out, DELETE_FORK),
}


class RacesTests(StoreFixtures):
    """See the module's text."""

    @capability("races", patience=3)
    @pytest.mark.parametrize("race", RACES)
    def test_another_comes_between_any_two_calls(self, open_store: Callable[[], Any], race: str) -> None:
        self._at_each_place(open_store, *RACES[race])

    @capability("races", patience=3)
    @only_in_full
    @pytest.mark.parametrize("race", MORE_RACES)
    def test_another_comes_between_any_two_calls_too(self, open_store: Callable[[], Any], race: str) -> None:
        self._at_each_place(open_store, *MORE_RACES[race])

    @staticmethod
    def _at_each_place(open_store: Callable[[], Any], operation: Callable[..., None], others: Callable[..., None]) -> None:
        mine, theirs = open_store(), open_store()
        for call in range(_MOST):
            world = family(f"r{call}-", theirs)
            store = Between(mine, call, partial(_told, others, theirs, world))
            _told(operation, store, world)
            if over := not store.had_turn:
                _told(others, theirs, world)
            check(world)
            check_nothing_left(world)
            if over:
                break
        assert over
        assert call > 1, "the operation has more calls than one"


def _told(operation: Callable[..., None], store: Any, world: World) -> None:
    """Do it; that it was not done is an answer, too, but not that something is broken."""
    try:
        operation(store, world)
    except CorruptStore:
        raise
    except SessileError:
        pass
