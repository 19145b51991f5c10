"""What a session hands out is the caller's: changed in place, it changes nothing that is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from tests.faces import FACES, opener
from tests.stores import ALL, url_of

from sessile import Agent, MemorySessionStore, Request, Session, SessionManager, Turn
from sessile.conversation.messages import Message
from sessile.errors import Conflict
from sessile.log.header import Header
from sessile.store.opening import open_store

PARTS = [{"type": "text", "text": "parts"}]

READS: dict[str, Callable[[Any], Any]] = {
    "state": lambda s: s.state,
    "get_state": lambda s: [s.get_state(), s.get_state("cart"), s.get_state("user:cart"), s.get_state("temp:cart")],
    "restore_state": lambda s: s.restore_state(),
    "preferences": lambda s: [s.get_preferences(), s.get_preference("colours")],
    "metadata": lambda s: s.metadata,
    "messages": lambda s: s.messages,
    "get_history": lambda s: [s.get_history(), s.get_history(1), s.get_history(4), s.get_history()],
    "get_context": lambda s: s.get_context(),
    "to_dict": lambda s: s.to_dict(),
    "snapshots": lambda s: s.snapshots(),
    "checkpoints": lambda s: s.checkpoints(),
    "list_versions": lambda s: s.list_versions(),
    "children": lambda s: s.children(),
    "tree": lambda s: s.tree(),
    "diff": lambda s: s.diff(0),
    "agents": lambda s: [session.metadata for session in (s.fork(), s.merge(s.fork(1)))],
}
WRITES: dict[str, Callable[[Any], Any]] = {
    "add_message": lambda s: s.add_message("user", PARTS, {"m": [1]}),
    "add_messages": lambda s: s.add_messages([{"role": "user", "content": PARTS, "metadata": {"m": [1]}}]),
    "update_state": lambda s: s.update_state("cart", lambda old: [*old, 2]),
    "update_state in place": lambda s: s.update_state("cart", lambda old: old.append(2) or old),
    "snapshot": lambda s: s.snapshot("more", {"m": [1]}),
    "chat": lambda s: s.chat("hello", metadata={"m": [1]}) and s.get_history(2),
}


def scribble(value: Any) -> None:
    """Change everything that can be changed in a value, and in what it holds."""
    if isinstance(value, Header) or attrs.has(type(value)):
        value = vars(value) if hasattr(value, "__dict__") else attrs.asdict(value, recurse=False)
        value = list(value.values())
    if isinstance(value, dict):
        for item in list(value.values()):
            scribble(item)
        if type(value) is dict:
            value["scribbled"] = True
    elif isinstance(value, (list, tuple)):
        for item in value:
            scribble(item)
        if isinstance(value, list):
            value.append("scribbled")


def all_of(store: Any, session_id: str) -> Any:
    """A session as a handle shows it that nobody used before."""
    session = Session(session_id, store=store)
    data = session.to_dict()
    return data, session.state, session.messages, [vars(header) for header in SessionManager(store).list()]


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture(params=ALL)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    store = open_store(url_of(request.param, tmp_path))
    session = Session("s", store=store, metadata={"deep": {"list": [1]}})
    session.set_state("cart", [1, {"a": []}])
    session.set_state("user:cart", [1])
    session.update_preference("colours", ["red"])
    session.add_messages(
        [
            {"role": "user", "content": PARTS, "metadata": {"m": [1]}},
            {"role": "assistant", "tool_calls": [{"id": "c", "name": "f", "arguments": {"list": [1]}}]},
            {"role": "tool", "content": [{"type": "text", "text": "result"}], "tool_call_id": "c"},
        ]
    )
    session.create_checkpoint("here")
    session.save_version("one")
    session.snapshot("labelled", {"why": [1]})
    session.fork(session_id="f", metadata={"deep": [1]})
    yield store
    store.close()


@pytest.mark.parametrize("face", FACES)
def test_what_is_read_can_be_changed_without_changing_the_session(store: Any, face: str, loop: Any) -> None:
    session = opener(face, loop)("s", store=store)
    session.set_state("temp:cart", [1])
    session.get_history()
    for name, read in READS.items():
        before = all_of(store, "s"), session.state, session.messages, session.metadata
        scribble(read(session))
        if name == "agents":  # these are new sessions
            continue
        assert (all_of(store, "s"), session.state, session.messages, session.metadata) == before, name


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", WRITES)
def test_what_a_verb_returns_is_not_what_is_stored(store: Any, face: str, name: str, loop: Any) -> None:
    session = opener(face, loop)("s", store=store, agent=Agent(model="echo"))
    session.get_history()
    scribble(WRITES[name](session))
    assert "scribbled" not in str(all_of(store, "s"))
    assert "scribbled" not in str([session.state, session.messages, session.to_dict()])


@pytest.mark.parametrize("face", FACES)
def test_plugins_models_and_layers_are_handed_copies(store: Any, face: str, loop: Any) -> None:
    class Scribbling:
        def on_agent_start(self, metadata: dict[str, Any]) -> None:
            scribble(metadata)

        def on_user_message(self, message: Message, content: Any, metadata: Any) -> None:
            scribble([message, content, metadata])

        on_agent_message = on_user_message

        def save_state(self, state: dict[str, Any]) -> None:
            scribble(state)

        def generate(self, request: Request) -> Message:
            scribble(request.messages)
            replies.append(Message(role="assistant", content=[{"type": "text", "text": "reply"}], metadata={"m": [1]}))
            return replies[-1]

    def layer(turn: Turn, call_next: Any) -> Any:
        reply = call_next(turn)
        scribble(turn.message)  # its question is stored by now
        replies.append(reply)
        return reply

    replies: list[Message] = []
    plugin = Scribbling()
    options = {"plugins": [plugin], "agent": Agent(model=plugin), "middleware": [layer]}
    session = opener(face, loop)("s", store=store, **options)
    for _ in range(2):
        session.chat([{"type": "text", "text": "question"}], metadata={"m": [1]})
    session.save_state()
    scribble(replies)
    assert "scribbled" not in str(all_of(store, "s"))
    assert "scribbled" not in str([session.state, session.messages])


def test_what_is_passed_in_stays_the_callers(store: Any) -> None:
    session = Session("s", store=store)
    value: Any = {"a": [1]}
    session.set_state("value", value)
    session.metadata = value
    session.add_message("user", "x", value)
    session.add_messages([Message(role="user", content="y", metadata=value)])
    session.snapshot("z", value)
    before = all_of(store, "s")
    scribble(value)
    assert all_of(store, "s") == before


def test_headers_in_lists_are_copies(store: Any) -> None:
    manager = SessionManager(store)
    before = all_of(store, "s")
    for headers in (manager.list().items, [*manager.each()], [*manager.list(user_id="default_user", limit=1)]):
        scribble(headers)
        assert all_of(store, "s") == before


def test_the_header_of_a_conflict_is_a_copy() -> None:
    store = MemorySessionStore()
    one, two = (Session("s", store=store, metadata={"a": []}, on_conflict="raise") for _ in "12")
    one.add_message("user", "a")
    with pytest.raises(Conflict) as caught:
        two.add_message("user", "b")
    scribble(caught.value.header)
    assert "scribbled" not in str(all_of(store, "s"))


def test_what_to_dict_says_is_read_into_a_session_like_any_other() -> None:
    parent = Session("a", store=MemorySessionStore(), agent=Agent(model="echo"))
    parent.chat("one")
    fork = parent.fork(session_id="f")
    fork.chat("two")
    again = Session.from_dict(fork.to_dict(), agent=Agent(model="echo"))
    texts = ["one", "one", "two", "two"]
    assert [m.text for m in again.fork().messages] == texts
    assert [m.text for m in again.regenerate().messages] == texts
    assert [m.text for m in again.edit(again.messages[0], "x").messages] == ["x", "x"]
    assert [m.text for m in again.merge(again.fork(2)).messages] == texts
    assert [m.text for m in Session("f", store=again.store).messages] == texts
    assert again.to_dict() == fork.to_dict()
    again.delete(cascade=True)
    assert again.store.logs() == []
