"""A Hypothesis state machine for sessions as a graph: whatever is done, they hold what a model that copies everything holds."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sessile.errors import AccessDenied, InvalidInput
from sessile.log.header import DEFAULT_USER
from sessile.session import Session
from sessile.session.managing.manager import SessionManager
from sessile.store.memory import MemorySessionStore
from sessile.testing.fixtures import Driven

_examples = itertools.count()
_which = st.integers(0, 1)
_picks = st.integers(0, 99)


@attrs.define
class Copy:
    """A session as copies: each message with the state it was said in, the state now, and what was labelled or undone.

    A merged message's state is None: the model does not know it, and takes the session's word.
    """

    said: list[tuple[str, dict[str, Any] | None]] = attrs.field(factory=list)
    state: dict[str, Any] = attrs.field(factory=dict)
    parent: str | None = None
    labelled: list[tuple[Any, list[Any], dict[str, Any]]] = attrs.field(factory=list)
    undone: list[tuple[list[Any], dict[str, Any]]] = attrs.field(factory=list)
    user: str = DEFAULT_USER

    def texts(self) -> list[str]:
        return [text for text, _ in self.said]

    def elsewhere(self) -> Copy:
        """The same in another log: each of its entries is another."""
        other: dict[int, Any] = {}

        def copied(said: list[Any]) -> list[Any]:
            return [other.setdefault(id(pair), (*pair,)) for pair in said]

        labelled = [(point, copied(said), state) for point, said, state in self.labelled]
        undone = [(copied(said), state) for said, state in self.undone]
        return Copy(copied(self.said), dict(self.state), None, labelled, undone, self.user)


class GraphMachine(RuleBasedStateMachine):
    """All that is done to sessions, from two handles of each: what is said, snapshots, forks, merges, deletes, files."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        super().__init__()
        self._open = open_store
        self.copies: dict[str, Copy] = {}
        self.numbers = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.prefix = f"g{next(_examples)}-"
        self.stores = [self._open(), self._open()]
        self.handles: dict[tuple[int, str], Session] = {}
        self._add(f"{self.prefix}root", Copy())
        self.append(0, 0, 2)

    def _add(self, session_id: str, copy: Copy) -> None:
        self.copies[session_id] = copy
        for which in (0, 1):
            self.handles[which, session_id] = Session(session_id, store=self.stores[which])

    def _pick(self, which: int, pick: int) -> tuple[Session, Copy]:
        session_id = sorted(self.copies)[pick % len(self.copies)]
        return self.handles[which, session_id], self.copies[session_id]

    @rule(which=_which, pick=_picks, count=st.integers(1, 3))
    def append(self, which: int, pick: int, count: int) -> None:
        session, copy = self._pick(which, pick)
        texts = [f"{next(self.numbers):06}" for _ in range(count)]
        session.add_messages([("user", text) for text in texts])
        copy.said += [(text, dict(copy.state)) for text in texts]
        copy.undone.clear()

    @rule(which=_which, pick=_picks, key=st.sampled_from("ab"), value=st.integers(0, 3), long=st.booleans())
    def set_state(self, which: int, pick: int, key: str, value: int, long: bool) -> None:
        session, copy = self._pick(which, pick)
        new = [value, "x" * 3000] if long else value
        if copy.state.get(key) != new:
            copy.undone.clear()
        session.set_state(key, new)
        copy.state = {**copy.state, key: new}

    @rule(which=_which, pick=_picks)
    def snapshot(self, which: int, pick: int) -> None:
        session, copy = self._pick(which, pick)
        copy.labelled.append((session.snapshot("label"), list(copy.said), dict(copy.state)))
        copy.undone.clear()

    @rule(which=_which, pick=_picks, label=_picks)
    def revert_to_snapshot(self, which: int, pick: int, label: int) -> None:
        session, copy = self._pick(which, pick)
        assume(copy.labelled)
        point, said, state = copy.labelled[label % len(copy.labelled)]
        self._reverted(session, session.revert(point), copy, said, state)

    @rule(which=_which, pick=_picks, count=_picks)
    def revert_to_count(self, which: int, pick: int, count: int) -> None:
        session, copy = self._pick(which, pick)
        count %= len(copy.said) + 1
        self._reverted(session, session.revert(count), copy, *self._at(copy, count))

    @staticmethod
    def _at(copy: Copy, count: int) -> tuple[list[Any], dict[str, Any] | None]:
        if count == len(copy.said):
            return list(copy.said), dict(copy.state)
        return copy.said[:count], copy.said[count - 1][1] if count else {}

    @staticmethod
    def _reverted(session: Session, back: Any, copy: Copy, said: list[Any], state: dict[str, Any] | None) -> None:
        copy.labelled.append((back, copy.said, copy.state))
        copy.said, copy.state = list(said), session.state if state is None else dict(state)
        copy.undone.clear()

    @rule(which=_which, pick=_picks)
    def undo(self, which: int, pick: int) -> None:
        session, copy = self._pick(which, pick)
        if not copy.said:
            try:
                session.undo()
            except InvalidInput:
                return
            raise AssertionError("an empty session was undone")
        session.undo()
        copy.undone.append((copy.said, copy.state))
        state = copy.said[-1][1]
        copy.said, copy.state = copy.said[:-1], session.state if state is None else dict(state)

    @rule(which=_which, pick=_picks)
    def redo(self, which: int, pick: int) -> None:
        session, copy = self._pick(which, pick)
        try:
            session.redo()
            done = True
        except InvalidInput:
            done = False
        assert done == bool(copy.undone)
        if done:
            copy.said, copy.state = copy.undone.pop()

    @rule(which=_which, pick=_picks, count=_picks)
    def fork(self, which: int, pick: int, count: int) -> None:
        assume(len(self.copies) < 6)
        session, copy = self._pick(which, pick)
        count %= len(copy.said) + 1
        said, state = self._at(copy, count)
        session_id = f"{self.prefix}f{next(self.numbers)}"
        child = session.fork(count, session_id)
        state = child.state if state is None else dict(state)
        self._add(session_id, Copy(list(said), state, session.session_id, user=copy.user))

    @rule(which=_which, pick=_picks, count=_picks)
    def fork_for_another(self, which: int, pick: int, count: int) -> None:
        assume(len(self.copies) < 6)
        session, copy = self._pick(which, pick)
        count %= len(copy.said) + 1
        said, state = self._at(copy, count)
        session_id = f"{self.prefix}o{next(self.numbers)}"
        child = session.fork(count, session_id, user_id=f"{copy.user}'s friend")
        state = child.state if state is None else dict(state)
        self._add(session_id, Copy([(text, state) for text, _ in said], state, user=child.user_id))

    @rule(which=_which, pick=_picks, count=st.integers(0, 4))
    def pop(self, which: int, pick: int, count: int) -> None:
        session, copy = self._pick(which, pick)
        gone = copy.texts()[len(copy.said) - count :] if count < len(copy.said) else copy.texts()
        assert [m.content for m in session.pop(count)] == gone
        self._ends_with(copy, len(copy.said) - len(gone), [])

    @rule(which=_which, pick=_picks, after=_picks, count=st.integers(0, 2))
    def replace_tail(self, which: int, pick: int, after: int, count: int) -> None:
        session, copy = self._pick(which, pick)
        after %= len(copy.said) + 1
        texts = [f"{next(self.numbers):06}" for _ in range(count)]
        session.replace_tail(session.messages[after - 1] if after else None, [("user", text) for text in texts])
        self._ends_with(copy, after, texts)

    @rule(which=_which, pick=_picks)
    def clear(self, which: int, pick: int) -> None:
        session, copy = self._pick(which, pick)
        session.clear()
        self._ends_with(copy, 0, [])

    @staticmethod
    def _ends_with(copy: Copy, kept: int, texts: list[str]) -> None:
        """Only so many messages count, and then these: the state stays."""
        if texts or kept < len(copy.said):
            copy.said = [*copy.said[:kept], *((text, dict(copy.state)) for text in texts)]
            copy.undone.clear()

    @rule(which=_which, pick=_picks, other=_picks)
    def merge(self, which: int, pick: int, other: int) -> None:
        (ours, our_copy), (theirs, their_copy) = self._pick(which, pick), self._pick(which, other)
        assume(ours is not theirs and len(self.copies) < 6)
        session_id = f"{self.prefix}m{next(self.numbers)}"
        if our_copy.user != their_copy.user:
            with pytest.raises(AccessDenied):
                ours.merge(theirs, session_id=session_id)
            return
        merged = ours.merge(theirs, session_id=session_id, policy="theirs")
        expected = sorted({*our_copy.texts(), *their_copy.texts()})
        assert [m.content for m in merged.messages] == expected
        state = merged.state
        for key in state:  # which of the two is the policy's to say, and tested by itself
            assert state[key] in (our_copy.state.get(key), their_copy.state.get(key))
        theirs_too = {id(pair) for pair in their_copy.said}
        shared = dict(pair for pair in our_copy.said if id(pair) in theirs_too)  # what is one entry, not a copy of it
        self._add(session_id, Copy([(text, shared.get(text)) for text in expected], state, ours.session_id, user=our_copy.user))

    @rule(which=_which, pick=_picks)
    def delete(self, which: int, pick: int) -> None:
        session, _ = self._pick(which, pick)
        assume(len(self.copies) > 1)
        session.delete()
        gone = self.copies.pop(session.session_id)
        for copy in self.copies.values():
            if copy.parent == session.session_id:
                copy.parent = gone.parent

    @rule(which=_which, pick=_picks)
    def save_and_load(self, which: int, pick: int) -> None:
        session, copy = self._pick(which, pick)
        with tempfile.TemporaryDirectory() as folder:
            path = session.save(Path(folder) / "session.jsonl")
            loaded = Session.load(path, store=MemorySessionStore())
        assert [m.content for m in loaded.messages] == copy.texts()
        assert loaded.state == copy.state

    @rule(which=_which, pick=_picks, under_its_id=st.booleans())
    def export_and_import(self, which: int, pick: int, under_its_id: bool) -> None:
        session, copy = self._pick(which, pick)
        session_id = session.session_id if under_its_id else f"{self.prefix}i{next(self.numbers)}"
        with tempfile.TemporaryDirectory() as folder:
            path = session.export(Path(folder) / "session.jsonl")
            if under_its_id:
                assume(len(self.copies) > 1)
                self.delete(which, pick)
            SessionManager(self.stores[which]).import_session(path, session_id)
        self._add(session_id, copy.elsewhere())

    @rule(which=_which, pick=_picks, limit=st.integers(0, 8))
    def read_the_end(self, which: int, pick: int, limit: int) -> None:
        session, copy = self._pick(which, pick)
        texts = copy.texts()
        assert [m.content for m in session.get_history(limit)] == texts[len(texts) - min(limit, len(texts)) :]

    @invariant()
    def all_is_as_copied(self) -> None:
        for session_id, copy in self.copies.items():
            for which in (0, 1):
                session = self.handles[which, session_id]
                assert [m.content for m in session.messages] == copy.texts()
                assert session.message_count == len(copy.said)
                assert session.state == copy.state
            assert session.parent == copy.parent
            assert session.user_id == copy.user
            assert session.verify(), session.verify()

    def teardown(self) -> None:
        for store in getattr(self, "stores", ()):
            Driven(store).close()
