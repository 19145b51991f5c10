"""Every public callable, each of its parameters, every wrong type: an error that names the parameter, and nothing written.

The table is generated from signatures. What an annotation takes is told here a second time, apart from the core, so that
a new annotation has to be thought about, and a wrong rule shows.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import sessile
from sessile import (
    Agent,
    AsyncSession,
    AsyncSessionManager,
    MemoryConfig,
    MemorySessionStore,
    Runner,
    Session,
    SessionManager,
    tool,
)
from sessile.errors import AgentNotFound, InvalidArgument, InvalidInput, NotInstalled, SessileError
from sessile.plugins.discovery import installed
from sessile.plugins.registry import Registry
from sessile.session import DefaultSessionStore
from sessile.session.hierarchy import HierarchicalSessionStore
from sessile.store.waist import Query

pytestmark = pytest.mark.usefixtures("without_memory")

VALUES: dict[str, Any] = {
    "none": None,
    "int": 7,
    "negative": -7,
    "bool": True,
    "text": "text",
    "bytes": b"x",
    "list": ["x"],
    "dict": {"k": 1},
    "object": object(),
    "class": dict,
    "nan": float("nan"),
    "huge": 10**5000,
    "surrogate": "a\ud800",
}
EVERYTHING = frozenset(VALUES)
JSON = frozenset({"none", "int", "negative", "bool", "text", "list", "dict"})

# Which of these values an annotation takes.
TAKES: dict[str, frozenset[str]] = {
    "None": frozenset({"none"}),
    "str": frozenset({"text"}),
    "int": frozenset({"int", "negative"}),
    "float": frozenset({"int", "negative"}),
    "Count": frozenset({"int"}),
    "Positive": frozenset({"int"}),
    "Seconds": frozenset({"int"}),
    "Days": frozenset({"int"}),
    "Duration": frozenset({"int"}),
    "datetime": frozenset(),
    "Lifetime": frozenset({"int"}),
    "bool": frozenset({"bool"}),
    "JSON": JSON,
    "object": EVERYTHING,
    "Callable": frozenset({"class"}),
    "Progress": frozenset({"class"}),
    "Iterable": frozenset({"list"}),
    "Sequence": frozenset({"list"}),
    "Mapping": frozenset({"dict"}),
    "dict": frozenset({"dict"}),
    "Point": frozenset({"int", "negative", "text"}),
    "Policy": frozenset({"text", "class"}),
    "Api": frozenset(),
    "ModelLike": frozenset({"none", "text"}),
    **dict.fromkeys(
        (
            "AnySession",
            "SpeaksIn",
            "RemoteHandle",
            "Speaker",
            "AnyAgent",
            "Message",
            "Handle",
            "Literal",
            "OnConflict",
            "Tool",
            "Plugins",
            "Span",
            "os.PathLike",
        ),
        frozenset(),
    ),
}

# What a parameter takes whose annotation does not say it: by its name, or by the callable's and its name.
EXCEPTIONS: dict[str, frozenset[str]] = {
    "store": frozenset({"none"}),
    "db": frozenset({"none"}),
    "knowledge": frozenset({"none"}),
    "persist_memory": frozenset(),  # without a plugin for memory
    "Session.memory": frozenset({"none"}),
    "AsyncSession.memory": frozenset({"none"}),
    "create_session.memory": frozenset({"none"}),
    "get_session.memory": frozenset({"none"}),
    "Agent.memory": frozenset({"none", "bool"}),
    "agents": frozenset({"none"}),  # a dict of agents
    "changes.since": frozenset({"none"}),  # a cursor
    "headers": frozenset({"none"}),
    "agent_url": frozenset({"none"}),
    "backend": frozenset({"none", "text"}),  # text is a name, if of none
    "MemoryConfig.db": frozenset({"none", "text"}),
    "role": frozenset(),
    "get_state.default": EVERYTHING,
    "get_preference.default": EVERYTHING,
    "update_state.default": EVERYTHING,
    "content": frozenset({"text", "list"}),
    "chat.message": frozenset({"text", "list"}),
    "start.message": frozenset({"text", "list"}),
    "stream.message": frozenset({"text", "list"}),
    "run.message": frozenset({"text", "list"}),
    "run_async.message": frozenset({"text", "list"}),
}
# Where a value is refused by what it becomes, the error names that.
ALSO_NAMED = {"message": "content", "value": r"state\[", "default": r"state\["}

URLS = {
    "RedisSessionStore": "redis://localhost",
    "PostgresSessionStore": "postgresql://h/d",
    "MongoSessionStore": "mongodb://h/d",
}
STORES = ["FileSessionStore", "SQLiteSessionStore", *URLS]


MANAGERS = (SessionManager, AsyncSessionManager)


class Place:
    """A store with a session in it, and each callable's other arguments."""

    def __init__(self, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.store = MemorySessionStore()
        self.agent = Agent("A", model="echo")
        session = Session("s", user_id="ann", store=self.store, agent=self.agent)
        session.add_messages([("user", "one"), ("assistant", "two")])
        self.message = session.messages[0]

    def objects(self, face: Any) -> dict[str, Any]:
        if face is Registry:
            return {"target": Registry()}
        if face is Agent:
            return {"target": Agent("B", model="echo", session=Session("s", store=self.store))}
        if face in (DefaultSessionStore, HierarchicalSessionStore, *MANAGERS):
            return {"target": face(self.store)}
        return {"target": face("s", store=self.store, agent=self.agent, agents={"a": self.agent})}

    def argument(self, callable_name: str, name: str) -> Any:
        known: dict[str, Any] = {
            "role": "user",
            "content": "x",
            "message": self.message if callable_name == "edit" else "x",
            "messages": [("user", "x")],
            "key": "k",
            "name": "a" if callable_name == "run_agent" else "x",
            "hook_name": "x",
            "value": 1,
            "change": lambda old: 1,
            "metadata": {},
            "title": "t",
            "point": 1,
            "checkpoint": 1,
            "version": 0,
            "a": 1,
            "other": Session("other", store=self.store),
            "session": Session("s", store=self.store),
            "path": self.tmp_path / "file",
            "data": {},
            "text": "x",
            "query": "x",
            "session_id": "s",
            "span": ("log", 0, 1),
            "snapshot_id": "x",
            "message_id": self.message.id,
            "after": None,
            "message_index": 0,
            "user_id": "ann",
            "agent": self.agent,
            "function": print,
            "handle": None,
            "kind": "model",
            "target": "module:attribute",
            "plugins": installed(),
            "values": {},
            "verb": "message_count",
            "remote": None,
        }
        return known[name]

    def content(self) -> Any:
        headers = [*self.store.find(Query(limit=100)).items, *self.store.find(Query(limit=100, prefix="~")).items]
        return {header.session_id: (header, self.store.read(header.log, 0, header.head)) for header in headers}


def methods(cls: type) -> Iterator[str]:
    for name in dir(cls):
        if not name.startswith("_") and callable(getattr(cls, name)):
            yield name


CALLABLES: list[tuple[str, Any, str]] = [
    ("Registry.add", Registry, "add"),
    *((f"{cls.__name__}.{name}", cls, name) for cls in (Session, AsyncSession, Agent) for name in methods(cls)),
    *((f"{cls.__name__}.{name}", cls, name) for cls in (*MANAGERS, HierarchicalSessionStore) for name in methods(cls)),
    *((cls.__name__, None, cls.__name__) for cls in (Session, AsyncSession, Agent, *MANAGERS, MemoryConfig)),
    *((cls.__name__, None, cls.__name__) for cls in (MemorySessionStore, DefaultSessionStore)),
    *((name, None, name) for name in (*STORES, "tool", "run", "run_async")),
]


def find(face: Any, name: str, place: Place) -> tuple[Callable[..., Any], list[inspect.Parameter]]:
    """A callable, and its parameters without `self` or the handle."""
    if face is not None:
        target = place.objects(face)["target"]
        method = getattr(target, name)
        own = list(inspect.signature(getattr(face, name)).parameters.values())
        bound_to_class = inspect.ismethod(inspect.getattr_static(face, name).__get__(None, face))
        return method, own if bound_to_class or (face, name) == (Session, "load") else own[1:]
    if name in ("run", "run_async"):
        function = getattr(Runner, name)
        return function, list(inspect.signature(function).parameters.values())
    function = {"tool": tool, "DefaultSessionStore": DefaultSessionStore}.get(name) or getattr(sessile, name)
    return function, list(inspect.signature(function).parameters.values())


def taken(label: str, parameter: inspect.Parameter) -> frozenset[str]:
    """The kinds of values that a parameter takes."""
    short = f"{label.rpartition('.')[2]}.{parameter.name}"
    for key in (short, parameter.name):
        if key in EXCEPTIONS:
            return EXCEPTIONS[key]
    found: frozenset[str] = frozenset()
    for part in re.split(r" \| (?![^\[]*\])", str(parameter.annotation)):
        atom = re.sub(r"\[.*", "", part)
        assert atom in TAKES, f"{label}: say in TAKES or EXCEPTIONS what {parameter.name}: {part} takes"
        found |= TAKES[atom]
    return found


def outcome(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """What a call came to: its error, or None."""

    async def awaited(result: Any) -> None:
        await result

    try:
        result = function(*args, **kwargs)
        if inspect.isawaitable(result):
            asyncio.run(awaited(result))
    except Exception as error:
        return error


@pytest.mark.parametrize(("label", "face", "name"), CALLABLES, ids=[label for label, _, _ in CALLABLES])
def test_a_value_of_a_wrong_type_is_refused_by_name(label: str, face: Any, name: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    method, parameters = find(face, name, place)
    parameters = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    before = place.content()
    wrong = []
    for parameter in parameters:
        others = {p.name: place.argument(name, p.name) for p in parameters if p.default is p.empty}
        for kind in sorted(EVERYTHING - taken(label, parameter)):
            error = outcome(method, **{**others, parameter.name: VALUES[kind]})
            named = f"{re.escape(parameter.name)}|{ALSO_NAMED.get(parameter.name, 'x^')}"
            if not isinstance(error, SessileError) or not re.search(named, str(error)):
                wrong.append(f"{parameter.name}={kind}: {type(error).__name__}: {error}")
            if place.content() != before:
                wrong.append(f"{parameter.name}={kind} changed the store")
                before = place.content()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("face", [Session, AsyncSession])
@pytest.mark.parametrize("name", ["title", "metadata"])
def test_a_setter_refuses_too(face: Any, name: str, tmp_path: Path) -> None:
    place = Place(tmp_path)
    target, before = place.objects(face)["target"], place.content()
    takes = {"title": {"text"}, "metadata": {"dict"}}[name]
    for kind in sorted(EVERYTHING - takes):
        if face is Session:
            error = outcome(setattr, target, name, VALUES[kind])
        else:
            error = outcome(getattr(target, f"set_{name}"), VALUES[kind])
        assert isinstance(error, InvalidArgument), (kind, error)
        assert name in str(error)
    for kind in sorted(EVERYTHING):
        assert isinstance(outcome(setattr, target, "agent", VALUES[kind]), InvalidArgument), kind
    assert target.agent is place.agent
    assert place.content() == before


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_an_unknown_keyword_is_neither_stored_nor_handed_on(face: Any, tmp_path: Path) -> None:
    place = Place(tmp_path)
    target, before = place.objects(face)["target"], place.content()
    for name, keyword, hint in (
        ("chat", "agnet", "did you mean 'agent'"),
        ("chat", "model", "it has content, agent, metadata"),
        ("chat", "temperature", "has no parameter 'temperature'"),
        ("chat", "h", "has no parameter 'h'"),
        ("stream", "h", "has no parameter 'h'"),
        ("stream", "mood", "pass metadata={'mood': …}"),
        ("run_agent", "agnet", "has no parameter 'agnet'"),
        ("add_message", "metdata", "did you mean 'metadata'"),
        ("add_message", "contents", "did you mean 'content'"),
        ("get_history", "limt", "did you mean 'limit'"),
        ("Agent", "modle", "did you mean 'model'"),
        ("Agent", "temperature", "pass options={'temperature': …}"),
    ):
        given = {"Agent": ["A"], "add_message": ["user", "x"], "get_history": [], "run_agent": ["a", "x"]}.get(name, ["x"])
        error = outcome(getattr(target, name), *given, **{keyword: 1})
        assert isinstance(error, InvalidArgument), (name, keyword, error)
        assert hint in str(error)
    assert place.content() == before
    for made in (Agent, face, SessionManager, MemoryConfig):
        assert isinstance(outcome(made, sesion_id="x"), InvalidArgument)


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_metadata_beside_a_message_is_stored(face: Any, tmp_path: Path) -> None:
    place = Place(tmp_path)
    target = place.objects(face)["target"]
    for call in (
        lambda: target.add_message("user", "x", metadata={"agnet": 1}),
        lambda: target.add_message("user", "x", context=1, channel="web", confidence=0.9),
        lambda: target.chat("x", metadata={"mood": "good"}),
        lambda: target.run_agent("a", "x", metadata={"mood": "good"}),
    ):
        assert outcome(call) is None
    assert [m.metadata for m in Session("s", store=place.store).messages if m.role == "user"] == [
        {},
        {"agnet": 1},
        {"context": 1, "channel": "web", "confidence": 0.9},
        {"mood": "good"},
        {"mood": "good"},
    ]


@pytest.mark.parametrize("face", [Session, AsyncSession])
@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"memory": True}, NotInstalled, "memory needs a plugin"),
        ({"memory": {}}, NotInstalled, "memory needs a plugin"),
        ({"memory": {"provider": "rag"}}, NotInstalled, "pip install sessile-memory"),
        ({"knowledge": {"vector_store": {"provider": "chroma"}}}, NotInstalled, "no service named 'knowledge'"),
        ({"agent_url": "https://user:secret@host/agent"}, NotInstalled, "agent_url needs a plugin"),
        ({"memory": "held"}, InvalidInput, "memory is not supported by plugin 'Holder-"),
        ({"agent_url": "held://x"}, InvalidInput, "agent_url is not supported by plugin 'Holder-"),
        ({"headers": {"Authorization": "secret"}}, InvalidInput, "headers are sent to an agent_url"),
        ({"store": MemorySessionStore(), "backend": "sqlite"}, InvalidInput, "pass one of them"),
        ({"store": "file:x", "backend": "sqlite"}, InvalidInput, "pass one of them"),
        ({"store": "file:x", "db": "sqlite:///x"}, InvalidInput, "pass one of them"),
        ({"db": "file:x", "backend": "sqlite"}, InvalidInput, "pass one of them"),
        ({"db": object()}, InvalidInput, "db: .* has no hook"),
        ({"plugins": [object()]}, InvalidInput, "plugins: .* has no hook"),
    ],
)
def test_an_option_that_nothing_takes_is_refused(face: Any, options: Any, error: Any, why: str) -> None:
    class Holder:
        def register(self, registry: Any) -> None:
            registry.add("memory", "held", "nowhere:Memory")
            registry.add("transport", "held", "nowhere:Transport")

    with pytest.raises(error, match=why) as caught:
        face("s", **{"plugins": [Holder()], **options})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"memory": "user-123"}, "memory is 'user-123': pass {'session_id'"),
        ({"memory": ["x"]}, "memory is "),
        ({"memory": object()}, "memory is "),
        ({"memory": {"sesion_id": "s"}}, "did you mean 'session_id'"),
        ({"memory": {"session_id": 7}}, "MemoryConfig: session_id is 7"),
        ({"memory": {1: 2}}, "memory is "),
        ({"knowledge": ["file.pdf"]}, "knowledge needs a plugin"),
        ({"knowledge": True}, "knowledge needs a plugin"),
        ({"model": MemorySessionStore}, "model is "),
        ({"db": "file:x", "memory": {"db": "file:y"}}, "pass one of them"),
        ({"session": Session(store="memory://"), "memory": {"session_id": "x"}}, "pass them to the Session"),
        ({"session": Session(store="memory://"), "db": "file:x"}, "pass them to the Session"),
        ({"tools": [print, tool(len, name="print")]}, "has two tools named 'print'"),
        ({"options": {"temperature": float("nan")}}, r"options\['temperature'\] is nan"),
    ],
)
def test_an_agents_option_that_is_not_understood_is_refused(options: Any, why: str) -> None:
    with pytest.raises((InvalidInput, NotInstalled), match=why):
        Agent("A", **options)


def test_the_name_of_an_agent_that_is_not_there(tmp_path: Path) -> None:
    for face in (Session, AsyncSession):
        target = Place(tmp_path).objects(face)["target"]
        error = outcome(target.run_agent, "editor", "x")
        assert isinstance(error, AgentNotFound), error
        assert isinstance(error, LookupError)
        assert "no agent 'editor' in this session" in str(error)
        assert "'a'" in str(error)


@pytest.mark.parametrize("face", [Session, AsyncSession])
def test_a_stream_is_checked_where_it_is_asked_for(face: Any, tmp_path: Path) -> None:
    place = Place(tmp_path)
    target = place.objects(face)["target"]
    for content in (None, 7, [None], "a\ud800"):
        with pytest.raises(InvalidInput, match="content"):
            target.stream(content)
    with pytest.raises(InvalidInput, match=r"metadata\['k'\]"):
        target.stream("x", metadata={"k": object()})


def test_two_places_and_options_of_nothing_are_refused(tmp_path: Path) -> None:
    session = Session("s", store=MemorySessionStore())
    path = session.save(tmp_path / "saved")
    for attempt, why in (
        (lambda: session.load(path, store="memory://"), "takes no store"),
        (lambda: DefaultSessionStore("memory://", session_dir=tmp_path), "pass one of them"),
        (lambda: DefaultSessionStore(MemorySessionStore(), lock_timeout=1), "has no lock"),
        (lambda: SessionManager("memory://", backend="sqlite"), "pass one of them"),
        (lambda: SessionManager("memory://", backend="memory"), ""),
    ):
        if why:
            with pytest.raises(InvalidInput, match=why):
                attempt()
        else:
            attempt()


def test_a_promise_that_nothing_keeps_is_said_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    Agent(memory={"session_id": "s"})
    assert not caplog.text
    Agent(memory={"session_id": "s", "auto_memory": True})
    assert "auto_memory has no effect: no plugin for memory is installed" in caplog.text
