"""A Hypothesis state machine: whatever is done to one session and its forks, they hold what plain lists and dicts hold.

The same machine drives `Session` and `AsyncSession`, on every store, from two handles of each session that are used at
random; after each step a third one, that nobody has used before, is asked for everything.
"""

from __future__ import annotations

import asyncio
import copy
import functools
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessile import Agent, Request
from sessile.errors import Conflict, InvalidInput, InvalidState, ReadOnly
from sessile.log.encoding import same
from sessile.store.opening import open_store
from tests.faces import FACES, opener
from tests.stores import ALL, SERVERS, url_of

_examples = itertools.count()
_which = st.integers(0, 1)
_picks = st.integers(0, 99)
_texts = st.sampled_from(["yes", "no", "maybe"])
_values = st.recursive(
    st.sampled_from([None, 1, True, 1.0, 0, False, "", "text", "é\U0001f600"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=3,
)
_dicts = st.dictionaries(st.sampled_from("xy"), _values, max_size=2)
_KEYS = st.sampled_from(["a", "b", "user:u", "app:", "temp:t"])


class ModelDown(Exception):
    """What a model raises that does not answer."""


class Sometimes:
    """A model that fails when it is told so; else it says how much it was sent."""

    fails = False

    def generate(self, request: Request) -> str:
        if self.fails:
            raise ModelDown
        return f"re: {request.messages[-1].text}"


@attrs.define(eq=False)
class Said:
    """A message, with the state it was said in. turn: the question that began its turn; None outside of turns."""

    role: str
    content: Any
    metadata: dict[str, Any]
    state: dict[str, Any]
    turn: Any = None
    call: str = ""  # the id of the tool call that it makes or answers

    def saying(self) -> tuple[Any, ...]:
        return self.role, self.content, self.metadata, self.call

    def shown(self, open_turns: set[int]) -> tuple[Any, ...]:
        return self.role, self.content, self.metadata, id(self.turn) in open_turns


@attrs.define
class Plain:
    """A session as lists and dicts. undone: what `redo` brings back. points: what was labelled, and how it was then."""

    said: list[Said] = attrs.field(factory=list)
    state: dict[str, Any] = attrs.field(factory=dict)
    metadata: dict[str, Any] = attrs.field(factory=dict)
    title: str = ""
    undone: list[tuple[list[Said], dict[str, Any]]] = attrs.field(factory=list)
    points: list[tuple[Any, list[Said], dict[str, Any]]] = attrs.field(factory=list)

    def say(self, role: str, content: Any, metadata: Any = None, turn: Any = None, call: str = "") -> Said:
        said = Said(role, content, dict(metadata or {}), self.state, turn, call)
        self.said = [*self.said, said]
        self.undone = []
        return said

    def set(self, state: dict[str, Any]) -> None:
        if not same(state, self.state):
            self.undone = []
            self.state = copy.deepcopy(state)

    def groups(self) -> list[list[Said]]:
        """The turns; outside of turns, a message and those behind it up to the next user's."""
        groups: list[list[Said]] = []
        turn: Any = self  # of the last group: none yet
        for said in self.said:
            if groups and said.turn is turn and (turn is not None or said.role != "user"):
                groups[-1].append(said)
            else:
                groups.append([said])
            turn = said.turn
        return groups

    def shown(self) -> list[tuple[Any, ...]]:
        open_turns = {id(g[0].turn) for g in self.groups() if g[0].turn is not None and g[-1].role != "assistant"}
        return [said.shown(open_turns) for said in self.said]

    def at(self, count: int) -> tuple[list[Said], dict[str, Any]]:
        """What counts up to a number of messages; a negative one is counted from the end."""
        back, count = count < 0, count % (len(self.said) + 1) if count >= 0 else len(self.said) + count
        if count == len(self.said):
            return self.said, self.state
        if count and self._is_answered(count - 1):  # between a call and its result
            count += -1 if back else 1
        return self.said[:count], self.said[count - 1].state if count else {}

    def behind(self, said: Said) -> tuple[list[Said], dict[str, Any]]:
        """What counts up to a message."""
        index = self.said.index(said)
        index += self._is_answered(index)
        return self.said[: index + 1], self.said[index].state

    def _is_answered(self, index: int) -> bool:
        """Is this a tool call, with its result behind it? (What `set_history` kept may end between them.)"""
        said, after = self.said[index], self.said[index + 1 : index + 2]
        return bool(said.call) and [other.call for other in after] == [said.call]


class SessionMachine(RuleBasedStateMachine):
    """See the module's text."""

    def __init__(self, open_session: Callable[..., Any]) -> None:
        super().__init__()
        self._open_session = open_session
        self.plain: dict[str, Plain] = {}
        self.handles: dict[tuple[int, str], Any] = {}
        self.temp: dict[tuple[int, str], dict[str, Any]] = {}
        self.failed: dict[tuple[int, str], Said | None] = {}
        self.shared: dict[str, Any] = {}
        self.numbers = itertools.count()
        self.model = Sometimes()

    @initialize()
    def begin(self) -> None:
        self.prefix = f"s{next(_examples)}"
        self._add(f"{self.prefix}-root", Plain())

    def _add(self, session_id: str, plain: Plain) -> None:
        self.plain[session_id] = plain
        for which in (0, 1):
            self._open(which, session_id)

    def _open(self, which: int, session_id: str) -> None:
        self.handles[which, session_id] = self._new(session_id)
        self.temp[which, session_id] = {}
        self.failed[which, session_id] = None

    def _new(self, session_id: str) -> Any:
        return self._open_session(session_id, user_id=f"{self.prefix}-user", agent=Agent(model=self.model))

    def _pick(self, which: int, pick: int) -> tuple[Any, Plain, tuple[int, str]]:
        session_id = [*self.plain][pick % len(self.plain)]  # in their order: the ids of some are random
        return self.handles[which, session_id], self.plain[session_id], (which, session_id)

    # -- saying

    @rule(which=_which, pick=_picks, role=st.sampled_from(["user", "assistant", "system"]), text=_texts, metadata=_dicts)
    def add_message(self, which: int, pick: int, role: str, text: str, metadata: dict[str, Any]) -> None:
        session, plain, _ = self._pick(which, pick)
        said = session.add_message(role, text, metadata)
        assert (said.role, said.content, said.metadata) == (role, text, metadata)
        plain.say(role, text, metadata)

    @rule(which=_which, pick=_picks, parts=_dicts)
    def add_messages(self, which: int, pick: int, parts: dict[str, Any]) -> None:
        session, plain, _ = self._pick(which, pick)
        call = f"call-{next(self.numbers)}"
        content = [{"type": "text", "text": "parts", "more": parts}]
        session.add_messages(
            [
                {"role": "user", "content": content},
                {"role": "assistant", "tool_calls": [{"id": call, "name": "f", "arguments": parts}]},
                {"role": "tool", "content": "result", "tool_call_id": call},
            ]
        )
        plain.say("user", content)
        plain.say("assistant", None, call=call)
        plain.say("tool", "result", call=call)

    @rule(which=_which, pick=_picks, text=_texts, fails=st.booleans())
    def chat(self, which: int, pick: int, text: str, fails: bool) -> None:
        session, plain, key = self._pick(which, pick)
        self._chat(session, plain, key, text, fails)

    @rule(which=_which, pick=_picks, fails=st.booleans())
    def say_again(self, which: int, pick: int, fails: bool) -> None:
        """What failed is said again, whatever was done meanwhile, by the handle that failed or by the other."""
        session, plain, key = self._pick(which, pick)
        failed = self.failed[key] or self.failed[1 - which, key[1]]
        assume(failed is not None)
        assert failed is not None
        self._chat(session, plain, key, failed.content, fails)

    def _chat(self, session: Any, plain: Plain, key: tuple[int, str], text: str, fails: bool) -> None:
        failed = self.failed[key]
        goes_on = failed is not None and failed.content == text and plain.said[-1:] == [failed]
        if goes_on:
            question = failed
        else:
            question = plain.say("user", text)
            question.turn = question
        self.model.fails = fails
        try:
            assert session.chat(text) == f"re: {text}"
            assert not fails
        except ModelDown:
            assert fails
        self.model.fails = False
        if not fails:
            plain.say("assistant", f"re: {text}", turn=question)
        self.failed[key] = question if fails else None

    @rule(which=_which, pick=_picks, keep=_picks, new=st.lists(_texts, max_size=2), as_they_are=st.booleans())
    def set_history(self, which: int, pick: int, keep: int, new: list[str], as_they_are: bool) -> None:
        session, plain, key = self._pick(which, pick)
        self.failed[key] = None  # what failed is history now: the same question is asked anew
        keep %= len(plain.said) + 1
        shown = session.messages[:keep]
        kept = (
            shown
            if as_they_are
            else [{k: v for k, v in said.items() if k not in ("id", "turn", "open", "timestamp")} for said in shown]
        )
        session.set_history([*kept, *[("user", text) for text in new]])
        wanted = [said.saying() for said in plain.said[:keep]] + [("user", text, {}, "") for text in new]
        both = 0
        while both < min(len(plain.said), len(wanted)) and same(plain.said[both].saying(), wanted[both]):
            both += 1
        while 0 < both < len(plain.said) and None is not plain.said[both].turn is plain.said[both - 1].turn:
            both -= 1
        if both < len(plain.said):
            before = max(session.snapshots(), key=lambda point: (point.depth, point.position))
            assert before.label == "before set_history"
            plain.points.append((before, plain.said, plain.state))
            plain.said, plain.undone = plain.said[:both], []
        for said in wanted[both:]:
            plain.say(*said[:3], call=said[3])

    @rule(
        which=_which,
        pick=_picks,
        texts=st.lists(_texts, max_size=2),
        state=st.none() | st.dictionaries(st.sampled_from("ab"), _values, max_size=2),
        metadata=st.none() | _dicts,
        title=st.none() | _texts,
        late=st.booleans(),
    )
    def commit(self, which: int, pick: int, texts: list[str], state: Any, metadata: Any, title: Any, late: bool) -> None:
        session, plain, _ = self._pick(which, pick)
        messages, version = [("user", text) for text in texts], session.version
        if late:
            with pytest.raises(Conflict, match="not at"):
                session.commit(messages=[("user", "never")], title="never", expected=version + 1)
        done = session.commit(messages=messages, state=state, metadata=metadata, title=title, expected=version)
        assert [said.content for said in done.messages] == texts
        assert done.version == session.version
        plain.set({**plain.state, **(state or {})})  # what is said with it, is said in it
        for text in texts:
            plain.say("user", text)
        plain.metadata = plain.metadata if metadata is None else copy.deepcopy(metadata)
        plain.title = plain.title if title is None else title

    @rule(which=_which, pick=_picks, count=st.integers(0, 4))
    def pop(self, which: int, pick: int, count: int) -> None:
        session, plain, key = self._pick(which, pick)
        self.failed[key] = None
        left = max(0, len(plain.said) - count)
        assert same([said.content for said in session.pop(count)], [said.content for said in plain.said[left:]])
        if left < len(plain.said):
            plain.said, plain.undone = plain.said[:left], []

    @rule(
        which=_which,
        pick=_picks,
        keep=_picks,
        new=st.lists(st.tuples(st.sampled_from(["user", "assistant"]), _texts), max_size=3),
    )
    def replace_tail(self, which: int, pick: int, keep: int, new: list[tuple[str, str]]) -> None:
        session, plain, key = self._pick(which, pick)
        self.failed[key] = None
        keep %= len(plain.said) + 1
        after = session.messages[keep - 1] if keep else None
        assert [(said.role, said.content) for said in session.replace_tail(after, new)] == new
        parted = 0 < keep < len(plain.said) and plain.said[keep].turn is plain.said[keep - 1].turn
        turn = plain.said[keep - 1].turn if parted else None  # what replaces the end of a turn is of the turn, up to a question
        if keep < len(plain.said):
            plain.said, plain.undone = plain.said[:keep], []
        for role, text in new:
            turn = turn if role == "assistant" else None
            plain.say(role, text, turn=turn)

    @rule(which=_which, pick=_picks)
    def clear(self, which: int, pick: int) -> None:
        session, plain, key = self._pick(which, pick)
        self.failed[key] = None
        session.clear()
        if plain.said:
            before = max(session.snapshots(), key=lambda point: (point.depth, point.position))
            assert before.label == "before clear"
            plain.points.append((before, plain.said, plain.state))
            plain.said, plain.undone = [], []

    # -- going back

    @rule(which=_which, pick=_picks)
    def undo(self, which: int, pick: int) -> None:
        session, plain, _ = self._pick(which, pick)
        if not plain.said:
            with pytest.raises(InvalidInput, match="no turn to undo"):
                session.undo()
            return
        plain.points.append((session.undo(), plain.said, plain.state))
        plain.undone = [*plain.undone, (plain.said, plain.state)]
        last = plain.groups()[-1]
        plain.said, plain.state = plain.said[: -len(last)], last[0].state

    @rule(which=_which, pick=_picks)
    def redo(self, which: int, pick: int) -> None:
        session, plain, _ = self._pick(which, pick)
        if not plain.undone:
            with pytest.raises(InvalidInput, match="nothing to redo"):
                session.redo()
            return
        plain.points.append((session.redo(), plain.said, plain.state))
        *plain.undone, (plain.said, plain.state) = plain.undone

    @rule(which=_which, pick=_picks, metadata=_dicts)
    def snapshot(self, which: int, pick: int, metadata: dict[str, Any]) -> None:
        session, plain, _ = self._pick(which, pick)
        label = f"label-{next(self.numbers)}"
        point = session.snapshot(label, metadata)
        assert (point.label, point.count, point.metadata) == (label, len(plain.said), metadata)
        plain.points += [(name, plain.said, plain.state) for name in (point, point.id, label)]
        plain.undone = []

    def _point(self, session: Any, plain: Plain, kind: str, pick: int) -> tuple[Any, list[Said], dict[str, Any]]:
        """A point of a session, and what counts there."""
        if kind == "point":
            assume(plain.points)
            return plain.points[pick % len(plain.points)]
        if kind == "message":
            assume(plain.said)
            index = pick % len(plain.said)
            return session.messages[index], *plain.behind(plain.said[index])
        count = pick % (len(plain.said) + 1)
        if kind == "from the end" and count:
            count = -count
        return count, *plain.at(count)

    _kinds = st.sampled_from(["point", "message", "count", "from the end"])

    @rule(which=_which, pick=_picks, kind=_kinds, point=_picks)
    def revert(self, which: int, pick: int, kind: str, point: int) -> None:
        session, plain, _ = self._pick(which, pick)
        name, said, state = self._point(session, plain, kind, point)
        plain.points.append((session.revert(name), plain.said, plain.state))
        plain.said, plain.state, plain.undone = said, state, []

    # -- forks

    @rule(which=_which, pick=_picks, kind=_kinds, point=_picks, metadata=_dicts)
    def fork(self, which: int, pick: int, kind: str, point: int, metadata: dict[str, Any]) -> None:
        assume(len(self.plain) < 4)
        session, plain, _ = self._pick(which, pick)
        name, said, state = self._point(session, plain, kind, point)
        child = session.fork(name, f"{self.prefix}-{next(self.numbers)}", title="a fork", metadata=metadata)
        self._add(child.session_id, Plain(said, state, metadata, "a fork"))

    @rule(which=_which, pick=_picks, index=_picks, text=_texts)
    def edit(self, which: int, pick: int, index: int, text: str) -> None:
        session, plain, _ = self._pick(which, pick)
        assume(len(self.plain) < 4 and plain.said)
        index %= len(plain.said)
        assume(not plain.said[index].call)
        self._edited(session.edit(session.messages[index], text), plain, index, text)

    @rule(which=_which, pick=_picks)
    def regenerate(self, which: int, pick: int) -> None:
        session, plain, _ = self._pick(which, pick)
        assume(len(self.plain) < 4)
        asked = [said for group in plain.groups()[-1:] for said in group if said.role == "user"]
        if not asked:
            with pytest.raises(InvalidInput, match="no turn to answer"):
                session.regenerate()
            return
        self._edited(session.regenerate(), plain, plain.said.index(asked[0]), asked[0].content)

    def _edited(self, child: Any, plain: Plain, index: int, content: Any) -> None:
        old = plain.said[index]
        mine = Plain(plain.said[:index], old.state)
        said = mine.say(old.role, content, old.metadata)
        if old.role == "user":
            said.turn = said
            mine.say("assistant", f"re: {content if isinstance(content, str) else content[0]['text']}", turn=said)
        self._add(child.session_id, mine)

    # -- state

    def _key(self, key: str) -> str:
        return f"app:{self.prefix}" if key == "app:" else key

    def _state_of(self, key: tuple[int, str]) -> dict[str, Any]:
        return {**self.plain[key[1]].state, **self.shared, **self.temp[key]}

    def _changed(self, key: tuple[int, str], values: dict[str, Any], gone: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        """Set values in the lists and dicts, wherever they are kept."""
        plain = self.plain[key[1]]
        state = {name: value for name, value in plain.state.items() if name not in gone}
        for name in gone:
            self.shared.pop(name, None)
            self.temp[key].pop(name, None)
        for name, value in values.items():
            home = {"user": self.shared, "app": self.shared, "temp": self.temp[key]}.get(name.partition(":")[0], state)
            home[name] = copy.deepcopy(value)
        plain.set(state)

    @rule(which=_which, pick=_picks, name=_KEYS, value=_values)
    def set_state(self, which: int, pick: int, name: str, value: Any) -> None:
        session, _, key = self._pick(which, pick)
        session.set_state(self._key(name), value)
        self._changed(key, {self._key(name): value})

    @rule(which=_which, pick=_picks, values=st.dictionaries(_KEYS, _values, max_size=3))
    def set_whole_state(self, which: int, pick: int, values: dict[str, Any]) -> None:
        session, plain, key = self._pick(which, pick)
        values = {self._key(name): value for name, value in values.items()}
        session.set_state(values)
        self._changed(key, values, set(plain.state))

    @rule(which=_which, pick=_picks, values=st.dictionaries(_KEYS, _values, max_size=3), gone=_KEYS)
    def assign_to_the_state(self, which: int, pick: int, values: dict[str, Any], gone: str) -> None:
        session, _, key = self._pick(which, pick)
        values = {self._key(name): value for name, value in values.items()}
        held = session.state
        if hasattr(session, "awaited"):
            with pytest.raises(ReadOnly):
                held.update(values)
            return
        held.update(values)
        held.pop(self._key(gone), None)
        self._changed(key, values)
        self._changed(key, {}, {self._key(gone)})
        assert self._mine(held) == self._state_of(key)

    @rule(which=_which, pick=_picks, name=_KEYS)
    def delete_state(self, which: int, pick: int, name: str) -> None:
        session, _, key = self._pick(which, pick)
        session.delete_state(self._key(name))
        self._changed(key, {}, {self._key(name)})

    @rule(which=_which, pick=_picks, name=_KEYS, value=_values, in_place=st.booleans())
    def update_state(self, which: int, pick: int, name: str, value: Any, in_place: bool) -> None:
        session, _, key = self._pick(which, pick)
        name = self._key(name)

        def change(old: Any) -> Any:
            if in_place and isinstance(old, list):
                old.append(value)
                return old
            return [old, value]

        new = change(copy.deepcopy(self._state_of(key).get(name, "default")))
        if len(str(new)) > 200:
            new = value
            assert same(session.update_state(name, lambda old: value), new)
        else:
            assert same(session.update_state(name, change, "default"), new)
        self._changed(key, {name: new})

    @rule(which=_which, pick=_picks, name=_KEYS, by=st.sampled_from([1, -1, 0, 0.5]))
    def increment_state(self, which: int, pick: int, name: str, by: float) -> None:
        session, _, key = self._pick(which, pick)
        name = self._key(name)
        old = self._state_of(key).get(name, 0)
        if not isinstance(old, (int, float)) or isinstance(old, bool):
            with pytest.raises(InvalidState, match="nothing can be added"):
                session.increment_state(name, by)
            return
        assert same(session.increment_state(name, by), old + by)
        self._changed(key, {name: old + by})

    @rule(which=_which, pick=_picks, name=_KEYS, store=st.booleans())
    def change_in_place(self, which: int, pick: int, name: str, store: bool) -> None:
        """What was handed out is changed: nothing changes until it is set."""
        session, _, key = self._pick(which, pick)
        name = self._key(name)
        value = session.get_state(name, [])
        assert same(value, self._state_of(key).get(name, []))
        for handed_out in (value, *session.state.values(), *session.metadata.values(), *session.messages):
            _scribble(handed_out)
        if store:
            session.set_state(name, value)
            self._changed(key, {name: value})

    # -- the rest

    @rule(which=_which, pick=_picks, metadata=_dicts)
    def set_metadata(self, which: int, pick: int, metadata: dict[str, Any]) -> None:
        session, plain, _ = self._pick(which, pick)
        session.metadata = metadata
        plain.metadata = copy.deepcopy(metadata)

    @rule(which=_which, pick=_picks, title=_texts)
    def set_title(self, which: int, pick: int, title: str) -> None:
        session, plain, _ = self._pick(which, pick)
        session.title = title
        plain.title = title

    @rule(which=_which, pick=_picks)
    def close_and_open(self, which: int, pick: int) -> None:
        session, _, key = self._pick(which, pick)
        session.close()
        self._open(*key)

    @rule(which=_which, pick=_picks, limit=st.integers(0, 5))
    def read(self, which: int, pick: int, limit: int) -> None:
        session, plain, key = self._pick(which, pick)
        last = [_shown(said) for said in session.get_history(limit)]
        assert same(last, plain.shown()[len(plain.said) - min(limit, len(plain.said)) :])
        assert same(self._mine(session.state), self._state_of(key))

    @invariant()
    def a_new_handle_shows_what_the_lists_and_dicts_hold(self) -> None:
        for session_id, plain in self.plain.items():
            session = self._new(session_id)
            shown = [_shown(said) for said in session.messages]
            assert same(shown, plain.shown())
            assert session.message_count == len(plain.said)
            assert same(self._mine(session.state), {**plain.state, **self.shared})
            assert same(dict(session.metadata), plain.metadata)
            assert session.title == plain.title
            session.close()

    def _mine(self, state: dict[str, Any]) -> dict[str, Any]:
        """A state without what earlier examples left to everybody."""
        return {key: value for key, value in state.items() if not key.startswith("app:") or key == self._key("app:")}

    def teardown(self) -> None:
        for session in [*self.handles.values()][:1]:
            session.delete_state(self._key("app:"))
        for (which, _), session in self.handles.items():
            if not which:
                assert session.verify()
            session.close()


def _shown(said: Any) -> tuple[Any, ...]:
    return said.role, said.content, said.metadata, said.open


def _scribble(value: Any) -> None:
    if isinstance(value, dict):
        for item in value.values():
            _scribble(item)
        if type(value) is dict:
            value["scribbled"] = 1
    elif isinstance(value, list):
        for item in value:
            _scribble(item)
        value.append("scribbled")


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("kind", [*ALL, *SERVERS])
def test_sessions_are_what_lists_and_dicts_are(kind: str, face: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path) if kind in ALL else request.getfixturevalue(f"{kind}_server").url()
    loop = asyncio.new_event_loop()
    store = open_store(url)
    open_in_face = opener(face, loop)
    full = request.config.getoption("--full")
    quick = settings(
        max_examples=300 if full else 10,
        stateful_step_count=50 if full else 25,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        run_state_machine_as_test(functools.partial(SessionMachine, functools.partial(open_in_face, store=store)), settings=quick)
    finally:
        store.close()
        loop.close()
