"""A Hypothesis state machine: messages and entries of plugins' own in one log hold what one plain list holds.

From two handles of each session, of which one is always late; a third one, new, is asked after each step.
"""

from __future__ import annotations

import asyncio
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

from sessile.errors import InvalidInput
from sessile.store import open_store
from tests.faces import FACES, opener
from tests.stores import ALL, SERVERS, url_of

_examples = itertools.count()
_which = st.integers(0, 1)
_picks = st.integers(0, 99)
_KINDS = st.sampled_from(["mine.step", "mine.cursor", "other-one.step"])


@attrs.define
class Plain:
    """What counts, in the order of the log: (kind, text or number). undone: what was there before each `undo`, and after it."""

    items: list[tuple[str, Any]] = attrs.field(factory=list)
    undone: list[tuple[list[tuple[str, Any]], int]] = attrs.field(factory=list)

    def said(self) -> list[Any]:
        return [value for kind, value in self.items if kind == "said"]

    def own(self) -> list[tuple[str, Any]]:
        return [item for item in self.items if item[0] != "said"]

    def behind(self, count: int) -> list[tuple[str, Any]]:
        """What counts up to a number of messages."""
        if count == len(self.said()):
            return self.items
        return self.items[: self._place(count) + 1] if count else []

    def _place(self, number: int) -> int:
        return [place for place, (kind, _) in enumerate(self.items) if kind == "said"][number - 1]

    def without_last(self, count: int) -> list[tuple[str, Any]]:
        """Without the last messages; entries of plugins' own stay."""
        first = self._place(len(self.said()) - count + 1)
        return self.items[:first] + [item for item in self.items[first:] if item[0] != "said"]


class EntryMachine(RuleBasedStateMachine):
    """See the module's text."""

    def __init__(self, open_session: Callable[..., Any]) -> None:
        super().__init__()
        self._open_session = open_session
        self.plain: dict[str, Plain] = {}
        self.handles: dict[tuple[int, str], Any] = {}
        self.numbers = itertools.count()

    @initialize()
    def begin(self) -> None:
        self.prefix = f"e{next(_examples)}"
        self._add(f"{self.prefix}-root", Plain())

    def _add(self, session_id: str, plain: Plain) -> None:
        self.plain[session_id] = plain
        for which in (0, 1):
            self.handles[which, session_id] = self._open_session(session_id)

    def _pick(self, which: int, pick: int) -> tuple[Any, Plain]:
        session_id = [*self.plain][pick % len(self.plain)]
        return self.handles[which, session_id], self.plain[session_id]

    @rule(which=_which, pick=_picks)
    def say(self, which: int, pick: int) -> None:
        session, plain = self._pick(which, pick)
        text = f"text {next(self.numbers)}"
        session.add_message("user", text, raw=f"<{text}>")
        plain.items, plain.undone = [*plain.items, ("said", text)], []

    @rule(which=_which, pick=_picks, kind=_KINDS)
    def append(self, which: int, pick: int, kind: str) -> None:
        session, plain = self._pick(which, pick)
        number = next(self.numbers)
        assert session.append(kind, {"n": number}).body == {"n": number}
        plain.items = [*plain.items, (kind, number)]

    @rule(which=_which, pick=_picks, texts=st.integers(0, 2), kinds=st.lists(_KINDS, max_size=2))
    def commit(self, which: int, pick: int, texts: int, kinds: list[str]) -> None:
        session, plain = self._pick(which, pick)
        said = [("said", f"text {next(self.numbers)}") for _ in range(texts)]
        own = [(kind, next(self.numbers)) for kind in kinds]
        messages = [{"role": "user", "content": text, "raw": f"<{text}>"} for _, text in said]
        session.commit(messages=messages, entries=[(kind, {"n": number}) for kind, number in own])
        plain.items = [*plain.items, *own, *said]
        plain.undone = [] if said else plain.undone

    @rule(which=_which, pick=_picks, count=st.integers(1, 3))
    def pop(self, which: int, pick: int, count: int) -> None:
        session, plain = self._pick(which, pick)
        count = min(count, len(plain.said()))
        popped = session.pop(count)
        assert [said.content for said in popped] == (plain.said()[-count:] if count else [])
        if count:
            plain.items, plain.undone = plain.without_last(count), []

    @rule(which=_which, pick=_picks, keep=_picks, new=st.integers(0, 2))
    def replace_tail(self, which: int, pick: int, keep: int, new: int) -> None:
        session, plain = self._pick(which, pick)
        count = len(plain.said())
        keep %= count + 1
        texts = [f"text {next(self.numbers)}" for _ in range(new)]
        messages = [{"role": "user", "content": text, "raw": f"<{text}>"} for text in texts]
        session.replace_tail(session.messages[keep - 1].id if keep else None, messages)
        kept = plain.without_last(count - keep) if keep < count else plain.items
        plain.items = [*kept, *(("said", text) for text in texts)]
        plain.undone = [] if keep < count or new else plain.undone

    @rule(which=_which, pick=_picks)
    def clear(self, which: int, pick: int) -> None:
        session, plain = self._pick(which, pick)
        session.clear()
        if plain.items:
            plain.items, plain.undone = [], []

    @rule(which=_which, pick=_picks, keep=_picks, new=st.integers(0, 2))
    def set_history(self, which: int, pick: int, keep: int, new: int) -> None:
        session, plain = self._pick(which, pick)
        count = len(plain.said())
        keep %= count + 1
        texts = [f"text {next(self.numbers)}" for _ in range(new)]
        messages = [{"role": "user", "content": text, "raw": f"<{text}>"} for text in texts]
        session.set_history([*session.messages[:keep], *messages])
        kept = plain.without_last(count - keep) if keep < count else plain.items
        plain.items = [*kept, *(("said", text) for text in texts)]
        plain.undone = [] if keep < count or new else plain.undone

    @rule(which=_which, pick=_picks)
    def undo(self, which: int, pick: int) -> None:
        session, plain = self._pick(which, pick)
        assume(plain.said())
        session.undo()
        before = plain.items
        plain.items = plain.items[: plain.items.index(("said", plain.said()[-1]))]
        plain.undone.append((before, len(plain.items)))

    @rule(which=_which, pick=_picks)
    def redo(self, which: int, pick: int) -> None:
        session, plain = self._pick(which, pick)
        if not plain.undone:
            with pytest.raises(InvalidInput, match="nothing to redo"):
                session.redo()
            return
        session.redo()
        items, before = plain.undone.pop()
        plain.items = [*items, *plain.items[before:]]

    @rule(which=_which, pick=_picks, count=_picks)
    def revert(self, which: int, pick: int, count: int) -> None:
        session, plain = self._pick(which, pick)
        count %= len(plain.said()) + 1
        session.revert(count)
        plain.items, plain.undone = plain.behind(count), []

    @rule(which=_which, pick=_picks, count=_picks)
    def fork(self, which: int, pick: int, count: int) -> None:
        assume(len(self.plain) < 3)
        session, plain = self._pick(which, pick)
        count %= len(plain.said()) + 1
        child = session.fork(count, f"{self.prefix}-{next(self.numbers)}")
        self._add(child.session_id, Plain([*plain.behind(count)]))

    @rule(which=_which, pick=_picks, after=_picks)
    def read(self, which: int, pick: int, after: int) -> None:
        session, plain = self._pick(which, pick)
        said = plain.said()
        assume(said)
        after %= len(said)
        message = session.messages[after]
        assert [other.content for other in session.get_history(after=message)] == said[after + 1 :]
        found = session.message(message.id)
        assert (found.content, found.raw) == (said[after], f"<{said[after]}>")

    @invariant()
    def a_new_handle_shows_what_the_list_holds(self) -> None:
        for session_id, plain in self.plain.items():
            session = self._open_session(session_id)
            assert [said.content for said in session.messages] == plain.said()
            assert [said.raw for said in session.messages] == [f"<{text}>" for text in plain.said()]
            assert session.message_count == len(plain.said())
            assert [(entry.kind, entry.body["n"]) for entry in session.entries()] == plain.own()
            last = len(plain.own()) % 4
            assert [(entry.kind, entry.body["n"]) for entry in session.entries(limit=last)] == plain.own()[
                len(plain.own()) - last :
            ]
            assert [e.body["n"] for e in session.entries("mine.step")] == [n for kind, n in plain.own() if kind == "mine.step"]
            session.close()

    def teardown(self) -> None:
        for session in self.handles.values():
            assert session.verify()
            session.close()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("kind", [*ALL, *SERVERS])
def test_a_log_is_what_a_list_is(kind: str, face: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    url = url_of(kind, tmp_path) if kind in ALL else request.getfixturevalue(f"{kind}_server").url()
    loop = asyncio.new_event_loop()
    store = open_store(url)
    full = request.config.getoption("--full")
    quick = settings(
        max_examples=300 if full else 6,
        stateful_step_count=50 if full else 20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    open_session = functools.partial(opener(face, loop), store=store)
    try:
        run_state_machine_as_test(functools.partial(EntryMachine, open_session), settings=quick)
    finally:
        store.close()
        loop.close()
