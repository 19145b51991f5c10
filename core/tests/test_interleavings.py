"""Forks, deletion and all that meets them: the real code of two actors over a memory store, through all interleavings.

An actor stops before each call of the store. Two orders that lead to the same store, with actors that were given the same
answers, go on alike: one of them is gone through. So ids and versions are not random here, but an actor's first, second, … one.
In each state everything is also cut short, and swept up: what is left then has to be sound, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any

import attrs
import pytest

from sessile import Agent, MemorySessionStore, Session
from sessile.drive.faces import Blocking, run
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import delete_session, mark_deleted
from sessile.engine.committing.heirs import claim, settle
from sessile.engine.handle import Handle
from sessile.engine.history import add_message, get_history
from sessile.errors import CorruptStore, SessileError
from sessile.graph.forks import begin_pending, fork
from sessile.graph.integrity import verify
from sessile.log.header import UNSEEN, Header
from sessile.log.ids import HEIRS
from sessile.plugins.discovery import installed
from sessile.session.managing.erasing import sweep
from sessile.store.waist import Query
from sessile.testing.plugin import full
from sessile.transfer.transplant import Transplant

Actor = Callable[["Stepping", "World"], Coroutine[Any, Any, Any]]


class _Step:
    """Awaited before each call of the store: lets the scheduler choose who goes on."""

    def __await__(self) -> Iterator[None]:
        yield


class Stepping(Blocking):
    """A face whose calls of the store are steps. answers: what the store has answered so far."""

    def __init__(self, store: MemorySessionStore) -> None:
        self.store = store
        self.reading = False  # is reading a log a step, too?
        self.answers = 0  # a hash

    async def call(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if getattr(fn, "__self__", None) is not self.store:
            return fn(*args, **kwargs)
        if self.reading or fn.__name__ != "read":
            await _Step()
        try:
            answer = fn(*args, **kwargs)
        except SessileError as error:
            self.answers = hash((self.answers, repr(error), repr(getattr(error, "header", None))))
            raise
        self.answers = hash((self.answers, repr(answer)))
        return answer

    settle = call

    async def pause(self, seconds: float) -> None:
        pass

    def handle(self, session_id: str) -> Handle:
        h = Handle(self, self.store, session_id, plugins=installed(), timeout=0)  # a commit that loses gives up …
        h.commits = self.commits()  # … but no fork and no delete does
        h.session = Plain(h)
        return h

    def commits(self) -> Commits:
        return Commits(self, self.store)


class Plain:
    """What a fork returns here: its handle."""

    def __init__(self, h: Handle) -> None:
        self._handle = h
        self.agent = Agent(model="echo")

    def another(self, h: Handle) -> Plain:
        return Plain(h)


@attrs.define
class World:
    """A store, and what happened to it: what was acknowledged, and which logs somebody asked to delete."""

    store: MemorySessionStore = attrs.field(factory=MemorySessionStore)
    said: list[tuple[str, str]] = attrs.field(factory=list)  # (log, text)
    inherited: dict[str, list[str]] = attrs.field(factory=dict)  # by log of a fork, what it began with
    deleted: set[str] = attrs.field(factory=set)

    def copied(self) -> World:
        store = MemorySessionStore()
        for log in self.store.logs():
            first = Header(session_id=f"~{log}", log=log, version=1)
            store.commit(first.session_id, expected=0, entries=self.store.entries(log), changes=first.to_dict())
            store.delete(first.session_id, expected=1)
        for header in _headers(self.store):
            store.commit(header.session_id, expected=0, entries=(), changes=header.to_dict())
        return World(store, list(self.said), dict(self.inherited), set(self.deleted))


# -- what actors do


async def say(face: Stepping, world: World, session_id: str, text: str) -> None:
    h = face.handle(session_id)
    await add_message(h, "user", text)
    assert h.seen is not None
    world.said.append((h.seen.log, text))


async def fork_of(face: Stepping, world: World, session_id: str, child: str) -> None:
    h = face.handle(session_id)
    texts = [m.text for m in await get_history(h)]
    before = (await h.open()).log
    made = await fork(h, None, child)
    header = face.store.load(child)
    if header is not None and header.parent == before and made:
        world.inherited[header.log] = texts


async def delete_it(face: Stepping, world: World, session_id: str, **how: Any) -> None:
    header = face.store.load(session_id)
    if header is not None:
        world.deleted.update(log for log in (header.log, *(_below(world, header.log) if how else ())))
        await delete_session(face.commits(), session_id, log=header.log, **how)
        assert (now := face.store.load(session_id)) is None or now.log != header.log or now.status == "deleted"


def _below(world: World, log: str) -> list[str]:
    return [h.log for h in _headers(world.store) if any(row.log == log for row in h.ancestors)]


async def read(face: Stepping, world: World, session_id: str) -> None:
    face.reading = True
    h = face.handle(session_id)
    texts = [m.text for m in await get_history(h)]
    owners = {text[0] for text in texts}
    assert len(owners) <= 1, f"texts of two users: {texts}"


async def sweep_up(face: Stepping, world: World) -> None:
    await sweep(face.commits(), repair=True, older_than=-1)
    world.deleted.update(h.log for h in _headers(world.store) if h.status in UNSEEN)


async def copy_in(face: Stepping, world: World, session_id: str) -> None:
    source = MemorySessionStore()
    with Session(session_id, store=source) as session:
        session.add_message("user", "c copied")
    header = source.load(session_id)

    async def pages() -> Any:
        yield source.entries(header.log)

    written = await Transplant(face.commits()).write_session(header, pages(), (), session_id=session_id, user_id=header.user_id)
    world.said.append((written.log, "c copied"))


# -- what has to be true


def _headers(store: MemorySessionStore) -> list[Header]:
    queries = [Query(prefix=prefix, status=status) for prefix in ("", "~") for status in (None, *UNSEEN)]
    return [header for query in queries for header in store.find(query)]


def check(world: World) -> None:
    """Every session that is there is whole and holds no other's texts; what was acknowledged is there, unless deleted."""
    for header in _headers(world.store):
        if header.hidden:
            continue
        h = Handle(Blocking(), world.store, header.session_id, plugins=installed())
        texts = [m.text for m in run(get_history(h))]
        assert run(verify(h)), run(verify(h))
        assert header.count == len(texts)
        assert len({text[0] for text in texts}) <= 1, texts
        if header.log in world.inherited:
            assert texts[: len(world.inherited[header.log])] == world.inherited[header.log]
        assert {text for log, text in world.said if log == header.log} <= {*texts}
    there = {header.log for header in _headers(world.store) if not header.hidden}
    for log, text in world.said:
        assert log in there or log in world.deleted, f"{text!r} of {log} is gone, and nobody deleted it"


def check_swept(world: World) -> None:
    """Nothing is left of what was cut short: no log that nobody needs, no heir that is not there."""
    run(sweep(Commits(Blocking(), world.store), repair=True, older_than=-1))
    check(world)
    headers = _headers(world.store)
    needed = {header.log: header.head for header in headers if header.head}
    heirs: dict[str, dict[str, int]] = {}
    for header in headers:
        assert header.status not in UNSEEN
        for row in header.ancestors:
            if row.stop:
                needed[row.log] = max(needed.get(row.log, 0), row.stop)
                heirs.setdefault(row.log, {})[header.log] = row.stop
    assert {log: len(world.store.entries(log)) for log in world.store.logs()} == needed
    records = {h.session_id.removeprefix(HEIRS): h.state for h in headers if h.session_id.startswith(HEIRS)}
    assert records == heirs


# -- all interleavings


class Dice:
    """Random numbers that depend on who draws, and on how many it has drawn."""

    def __init__(self) -> None:
        self.drawn: Counter[int] = Counter()
        self.actor = -1

    def urandom(self, size: int) -> bytes:
        self.drawn[self.actor] += 1
        return b"%0*d" % (size, 1000 * (self.actor + 1) + self.drawn[self.actor])

    def getrandbits(self, bits: int) -> int:
        return int(self.urandom(10))


@pytest.fixture(autouse=True)
def dice(monkeypatch: pytest.MonkeyPatch) -> Dice:
    """Nothing is random, and time stands still."""
    dice = Dice()
    monkeypatch.setattr("os.urandom", dice.urandom)
    monkeypatch.setattr("random.getrandbits", dice.getrandbits)
    monkeypatch.setattr("time.time", lambda: 1e9)
    return dice


class Run:
    """One run of the actors, step by step."""

    def __init__(self, world: World, actors: Sequence[Actor], dice: Dice) -> None:
        self.world = world
        self.dice = dice
        self.dice.drawn.clear()
        self.faces = [Stepping(world.store) for _ in actors]
        self.coroutines = [actor(face, world) for actor, face in zip(actors, self.faces, strict=True)]
        self.running = set(range(len(actors)))
        for number in range(len(actors)):
            self.step(number)

    def step(self, number: int) -> None:
        self.dice.actor = number
        try:
            self.coroutines[number].send(None)
        except StopIteration:
            self.running.discard(number)
        except SessileError:  # whatever it is, the actor was told
            self.running.discard(number)

    def state(self) -> int:
        """A hash of all that says how this can go on: the store, and what each actor was told."""
        store = self.world.store
        logs = [(log, [entry.json for entry in store.entries(log)]) for log in sorted(store.logs())]
        headers = sorted(repr(header.to_dict()) for header in _headers(store))
        told = [(face.answers, number in self.running) for number, face in enumerate(self.faces)]
        known = self.world.said, self.world.inherited, sorted(self.world.deleted)
        return hash(repr((logs, headers, told, known)))

    def close(self) -> None:
        for coroutine in self.coroutines:
            coroutine.close()


def explore(begin: World, actors: Sequence[Actor], dice: Dice, switches: float = math.inf) -> int:
    """Go through all interleavings, each up to a state that was seen; returns how many states there are.

    switches: only those in which so many times at most another actor goes on though one could (M. Musuvathi, S. Qadeer,
    "Iterative Context Bounding for Systematic Testing of Multithreaded Programs", 2007).
    """
    seen: dict[tuple[int, int], float] = {}  # a state and who goes on: how many switches were left there
    waiting: list[tuple[list[int], float]] = [([number], switches) for number in range(len(actors))]
    while waiting:
        order, left = waiting.pop()
        now = Run(begin.copied(), actors, dice)
        for number in order[:-1]:
            now.step(number)
        number = order[-1]
        while seen.get(state := (now.state(), number), -1) < left:
            if state not in seen:
                check_cut_short(now)
            seen[state] = left
            others = now.running - {number}
            if number in now.running:
                waiting += [([*order[:-1], other], left - 1) for other in others if left]
            elif others:
                number = order[-1] = others.pop()
            else:
                check(now.world)
                break
            now.step(number)
            order.append(number)
        now.close()
    return len({state for state, _ in seen})


def check_cut_short(now: Run) -> None:
    """What if all actors were killed here?"""
    now.dice.actor = -1
    world = now.world.copied()
    world.deleted |= {header.log for header in _headers(world.store) if header.status in UNSEEN}
    check_swept(world)


def family() -> World:
    """A session of user a, a fork of it, and another user's session."""
    world = World()
    with Session("s", store=world.store) as parent:
        parent.add_messages([("user", "a 1"), ("user", "a 2")])
        world.said += [(world.store.load("s").log, text) for text in ("a 1", "a 2")]
        parent.fork(1, "f").add_message("user", "a 3")
    header = world.store.load("f")
    world.said.append((header.log, "a 3"))
    world.inherited[header.log] = ["a 1"]
    return world


async def _then(face: Stepping, world: World, *actions: Any) -> None:
    for action in actions:
        await action(face, world)


def does(verb: Any, *args: Any, **how: Any) -> Any:
    return lambda face, world: verb(face, world, *args, **how)


def both(*actions: Any) -> Any:
    return lambda face, world: _then(face, world, *actions)


ANEW = both(does(delete_it, "s"), does(say, "s", "b new"))
SCENARIOS = {
    "fork, delete the parent": (does(fork_of, "s", "t"), does(delete_it, "s")),
    "fork, delete the parent and begin anew": (does(fork_of, "s", "t"), ANEW),
    "fork, fork": (does(fork_of, "s", "t"), does(fork_of, "s", "u")),
    "fork, fork under the same id": (does(fork_of, "s", "t"), does(fork_of, "f", "t")),
    "fork, say under the same id": (does(fork_of, "s", "t"), does(say, "t", "a mine")),
    "fork a fork, delete it": (does(fork_of, "f", "t"), does(delete_it, "f")),
    "fork a fork, delete its parent": (does(fork_of, "f", "t"), does(delete_it, "s")),
    "fork, delete all below": (does(fork_of, "f", "t"), does(delete_it, "s", cascade=True)),
    "fork, sweep": (does(fork_of, "s", "t"), does(sweep_up)),
    "delete parent and fork": (does(delete_it, "s"), does(delete_it, "f")),
    "delete twice": (does(delete_it, "s"), ANEW),
    "delete, say": (does(delete_it, "s"), does(say, "s", "a 4")),
    "read, delete the parent": (does(read, "f"), does(delete_it, "s")),
    "read, delete and begin anew": (does(read, "s"), ANEW),
    "copy, say under the same id": (does(copy_in, "t"), does(say, "t", "c mine")),
    "copy, copy": (does(copy_in, "t"), does(copy_in, "t")),
    "delete, sweep": (does(delete_it, "s"), does(sweep_up)),
}


MANY = "fork, delete all below"  # more interleavings than anybody waits for


@pytest.mark.parametrize("name", SCENARIOS)
def test_all_interleavings_of_two(name: str, dice: Dice, pytestconfig: pytest.Config) -> None:
    switches = 2 if not full(pytestconfig) else 4 if name == MANY else math.inf
    assert explore(family(), SCENARIOS[name], dice, switches) > 1


async def looks_at_nothing(commits: Any, log: str) -> bool:
    return False


async def claims_first(commits: Any, first: Header, *args: Any) -> Header:
    for row in first.ancestors:
        await claim(commits, row, first.log, first=True)
    return await begin_pending(commits, first, *args)


async def has_claimed(*args: Any, **how: Any) -> bool:
    return True


async def cuts_first(commits: Any, header: Header, *args: Any, **how: Any) -> Header | None:
    await settle(commits, header.log)
    return await mark_deleted(commits, header, *args, **how)


OUT_OF_ORDER = {  # the scenario that shows the harm -> what is done in another order, or not at all
    "fork, delete the parent": {"sessile.graph.forks.is_dead": looks_at_nothing},
    "fork, sweep": {"sessile.graph.forks.begin_pending": claims_first, "sessile.graph.forks.claim": has_claimed},
    "read, delete and begin anew": {"sessile.engine.committing.deletion.mark_deleted": cuts_first},
}


@pytest.mark.parametrize("name", OUT_OF_ORDER)
def test_a_step_out_of_order_is_found(name: str, monkeypatch: pytest.MonkeyPatch, dice: Dice) -> None:
    """The checker can fail: where a fork or a delete goes through its steps in another order, it finds what is lost."""
    for target, step in OUT_OF_ORDER[name].items():
        monkeypatch.setattr(target, step)
    with pytest.raises((AssertionError, CorruptStore)):
        explore(family(), SCENARIOS[name], dice, 2)
