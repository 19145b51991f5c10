"""Every verb of both faces takes what its signature says, and returns it: the calls are generated from the signatures."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import types
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from sessile import Agent, AsyncSession, AsyncSessionManager, MemorySessionStore, Session, SessionManager
from sessile.engine.handle import Handle
from sessile.plugins import installed

pytestmark = pytest.mark.usefixtures("without_memory")

PAIRS = {"session": (Session, AsyncSession), "manager": (SessionManager, AsyncSessionManager)}
OWN = {"blocking"}  # what one face has alone
LEFT_OUT = {"hook"}  # it calls what a plugin brings: see test_own_hooks.py


class Place:
    """A store with sessions in it, one of which each call is about, and what a parameter may be given."""

    def __init__(self, folder: Path) -> None:
        self.store = MemorySessionStore()
        self.agent = Agent("A", model="echo")
        self.session = Session("s", user_id="ann", store=self.store, agent=self.agent)
        self.session.chat("one")
        self.session.create_checkpoint("label")
        self.session.save_version()
        self.session.chat("two")
        self.session.undo()
        self.session.append("my.note", {})
        self.other = self.session.fork(session_id="other")
        self.folder = folder
        elsewhere = Session("elsewhere", user_id="ann", store=MemorySessionStore())
        elsewhere.add_message("user", "x")
        self.file = elsewhere.save(folder / "saved.jsonl")

    def values(self, verb: str, name: str) -> Sequence[Any]:
        """What to pass for a parameter, one after the other."""
        header = self.store.load("s")
        assert header is not None
        of_verb: dict[str, Any] = {
            "create_session.session_id": ["new"],
            "import_session.session_id": ["imported", None],
            "fork.session_id": ["new", None],
            "merge.session_id": ["new", None],
            "fork.user_id": ["bob", None],
            "replace_tail.after": [self.session.messages[1], self.session.messages[1].id],
            "get_history.after": [self.session.messages[0], None],
            "edit.message": [self.session.messages[0], self.session.messages[0].id],
            "commit.expected": [header.version, None],
            "pop.expected": [header.version, None],
            "replace_tail.expected": [header.version, None],
            "list.limit": [3],
            "each.limit": [3],
            "get_sessions_for_user.limit": [3],
            "save_state.state": [{"k": 1}, None],
            "commit.state": [{"k": 1}, None],
            "create_session.metadata": [{"k": 1}, None],
        }
        if f"{verb}.{name}" in of_verb:
            return of_verb[f"{verb}.{name}"]  # type: ignore[no-any-return]
        messages = [("user", "x"), {"role": "assistant", "content": "y"}, self.session.messages[0].replace(id=None)]
        points = [1, "label", self.session.messages[0], self.session.snapshots()[0]]
        known: dict[str, Sequence[Any]] = {
            "a": [*points, self.other],
            "after": [1.0, datetime.now(UTC), None],
            "agent": [self.agent],
            "agents": [{"a": self.agent}],
            "app": [None],
            "at": [*points, None],
            "b": [*points, self.other, None],
            "before": [1.0, datetime.now(UTC), None],
            "body": [{"k": [1]}, None],
            "change": [lambda old: 1],
            "checkpoint": points,
            "content": ["x", [{"type": "text", "text": "x"}]],
            "days": [0, 1.5],
            "default": [1],
            "description": ["x"],
            "entries": [[("my.note", {})]],
            "history": [self.session.messages, None],
            "increment": [1, 0.5],
            "key": ["k"] if verb != "set_state" else ["k", {"k": 1}],
            "kind": ["my.note"] if verb == "append" else ["my.note", None],
            "label": ["x"],
            "limit": [2, 0] if verb in ("search", "extract_topics") else [2, 0, None],
            "message_id": [self.session.messages[0].id],
            "messages": [messages],
            "metadata": [{"k": 1}, None] if verb != "set_metadata" else [{"k": 1}],
            "middleware": [[lambda turn, call_next: call_next(turn)]],
            "n": [1, 0],
            "name": ["x"],
            "older_than": [0, 0.5],
            "other": [self.other],
            "parent": [header.log, None],
            "path": [self.folder / "new", str(self.folder / "newer")] if verb in ("save", "export") else [self.file],
            "plugins": [[], installed()],
            "point": points,
            "policy": ["ours", "theirs", "raise", lambda key, ours, theirs: ours],
            "prefix": ["s"],
            "progress": [lambda done, total: None],
            "remove": [["k"]],
            "role": ["system", "user", "assistant", "tool"],
            "root": [header.log, None],
            "session": [self.session],
            "session_id": ["s"],
            "since": [self.session.changes().cursor, None],
            "span": self.session.changes().added,
            "state": [{"k": 1}],
            "status": ["active", None],
            "text": ["one"],
            "timeout": [0, 1.5],
            "title": ["x"],
            "user_id": ["ann"] if verb in ("delete_user", "get_sessions_for_user") else ["ann", None],
            "value": [1],
            "values": [{"k": 1}],
            "version": [0],
            "memory": [None],
            "persist_memory": [False],
            "knowledge": [None],
            "agent_url": [None],
            "headers": [None],
            "cursor": [None],
            "api": ["chat", "responses"],
            "lineage": ["kept", "resolved"],
            "on_conflict": ["rebase", "raise"],
            "checkpoint_interval": [0, 2],
            "checkpoint_keep": [1],
        }
        flags = ("cascade", "exist_ok", "repair", "reverted", "strict")
        return [True, False] if name in flags else known[name]


def conforms(value: Any, hint: Any, face: type[Any]) -> bool:
    """Is a value what a verb's annotation says that it returns?"""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any or hint is None or hint is type(None):
        return hint is Any or value is None
    if hint is Handle:
        return isinstance(value, face)
    if origin in (Union, types.UnionType):
        return any(conforms(value, argument, face) for argument in arguments)
    if origin is Literal:
        return value in arguments
    if origin is dict or hint is dict:
        return isinstance(value, Mapping) and (not arguments or all(conforms(v, arguments[1], face) for v in value.values()))
    if origin is list:
        return isinstance(value, list) and all(conforms(item, arguments[0], face) for item in value)
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    kind = origin or hint
    return isinstance(value, kind) and (kind is not int or not isinstance(value, bool))


def verbs(cls: type) -> Iterator[tuple[str, Callable[..., Any]]]:
    for name in sorted(dir(cls)):
        member = inspect.getattr_static(cls, name)
        getter = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and hasattr(getter, "verb"):
            yield name, getter.verb


CALLS = [
    pytest.param(kind, face, name, id=f"{PAIRS[kind][face].__name__}.{name}")
    for kind in PAIRS
    for face in (0, 1)
    for name, _ in verbs(PAIRS[kind][face])
    if name not in LEFT_OUT
]


def test_both_faces_have_the_same_verbs() -> None:
    for blocking, awaited in PAIRS.values():
        assert dict(verbs(blocking)) == dict(verbs(awaited))
        public = [{name for name in dir(face) if not name.startswith("_")} for face in (blocking, awaited)]
        assert public[0] ^ public[1] <= OWN


@pytest.mark.parametrize(("kind", "face", "name"), CALLS)
def test_a_verb_takes_what_it_says_and_returns_it(kind: str, face: int, name: str, tmp_path: Path) -> None:
    cls, opens = PAIRS[kind][face], PAIRS["session"][face]
    returned = get_type_hints(dict(verbs(cls))[name])["return"]
    member = inspect.getattr_static(cls, name)
    signature = inspect.signature(member.fget if isinstance(member, property) else member)
    parameters = [p for p in list(signature.parameters.values())[1:] if p.kind is not p.VAR_KEYWORD]

    def places() -> Iterator[Place]:
        for number in itertools.count():
            (tmp_path / str(number)).mkdir()
            yield Place(tmp_path / str(number))

    fresh = places()
    counts = {p.name: len(next(fresh).values(name, p.name)) for p in parameters}
    with closing(asyncio.new_event_loop()) as loop:
        for parameter, number in [("", 0), *((p, n) for p, count in counts.items() for n in range(count))]:
            place = next(fresh)
            given = {p.name: place.values(name, p.name)[0] for p in parameters if p.default is p.empty}
            if parameter:
                given[parameter] = place.values(name, parameter)[number]
            target = cls(place.store) if kind == "manager" else cls("s", store=place.store, agent=place.agent)
            value = called(target, name, given, loop)
            hint = list[get_args(returned)[0]] if get_origin(returned) is AsyncGenerator else returned  # type: ignore[misc]
            assert conforms(value, hint, opens), (given, value, returned)


def called(target: Any, name: str, arguments: dict[str, Any], loop: asyncio.AbstractEventLoop) -> Any:
    async def listed(values: AsyncIterator[Any]) -> list[Any]:
        return [value async for value in values]

    if isinstance(inspect.getattr_static(type(target), name), property):
        result = getattr(target, name)
    else:
        result = getattr(target, name)(**arguments)
    if inspect.isgenerator(result):
        return list(result)
    if inspect.isasyncgen(result):
        return loop.run_until_complete(listed(result))
    return loop.run_until_complete(result) if inspect.isawaitable(result) else result
