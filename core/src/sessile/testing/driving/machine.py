"""A Hypothesis state machine: a store under test does what the in-memory store does, whatever is done to both."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sessile.drive.faces import Blocking, run
from sessile.errors import Conflict, Missing
from sessile.log.header import Header
from sessile.log.ids import owner_of
from sessile.log.stamping import Change, Draft, stamp
from sessile.store.memory import MemorySessionStore
from sessile.store.waist import Query
from sessile.testing.fixtures import born

_examples = itertools.count()
_texts = st.text(st.characters(codec="utf-8"), max_size=30)
_names = st.sampled_from(["a", "A", "user/x", "user:x", "user_x", "ü"])
_bodies = st.dictionaries(
    _texts,
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), _texts),
    max_size=3,
)
_USERS = ("ann", "Bob")


class StoreMachine(RuleBasedStateMachine):
    """Commits of all kinds, lost races, reads, lists, deletes and re-openings, from two openings of the store at once."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        super().__init__()
        self._open = open_store
        self.model = MemorySessionStore()
        self.logs: dict[str, str] = {}  # every log that was ever begun, and its session's id
        self.clock = 1_000_000.0

    @initialize()
    def begin(self) -> None:
        self.prefix = f"m{next(_examples)}-"  # each example has its own sessions in the same store
        self.stores = [self._open(), self._open()]

    def _call(self, which: int, method: str, *args: Any, **kwargs: Any) -> Any:
        return run(Blocking().call(getattr(self.stores[which], method), *args, **kwargs))

    @rule(
        which=st.integers(0, 1),
        name=_names,
        kinds=st.lists(st.sampled_from(["message", "state", "my.note"]), max_size=4),
        body=_bodies,
        state=st.none() | _bodies,
        status=st.sampled_from([None, "archived"]),
        stale=st.booleans(),
    )
    def commit(self, which: int, name: str, kinds: list[str], body: dict[str, Any], state: Any, status: Any, stale: bool) -> None:
        session_id = self.prefix + name
        header = self.model.load(session_id) or born(session_id, user_id=_USERS[len(name) % 2])
        self.logs.setdefault(header.log, session_id)
        if stale:
            header = born(session_id, version=header.version + 1)
        fields: dict[str, Any] = {} if state is None else {"state": state}
        if status:
            fields["status"] = status
        self.clock += 1
        entries, changes = stamp(header, Change([Draft(kind, body) for kind in kinds], fields), self.clock)
        outcomes = []
        for commit in (self.model.commit, lambda *a, **k: self._call(which, "commit", *a, **k)):
            try:
                commit(session_id, expected=header.version, entries=entries, changes=changes)
                outcomes.append("done")
            except Conflict:
                outcomes.append("conflict")
        assert outcomes[0] == outcomes[1], outcomes
        assert stale == (outcomes[0] == "conflict")

    @rule(
        which=st.integers(0, 1),
        pick=st.integers(0, 99),
        start=st.integers(0, 12),
        length=st.integers(0, 12),
        kind=st.sampled_from([None, "message", "state"]),
    )
    def read(self, which: int, pick: int, start: int, length: int, kind: str | None) -> None:
        assume(self.logs)
        arguments = [*self.logs][pick % len(self.logs)], start, start + length, kind
        assert self._tried(self._call, which, "read", *arguments) == self._tried(self.model.read, *arguments)

    @staticmethod
    def _tried(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            return method(*args, **kwargs)
        except (Conflict, Missing) as error:
            return type(error)

    @rule(
        which=st.integers(0, 1),
        user=st.sampled_from([None, *_USERS]),
        status=st.sampled_from([None, "archived"]),
        limit=st.integers(1, 4),
    )
    def find(self, which: int, user: str | None, status: str | None, limit: int) -> None:
        found: list[Header] = []
        cursor = None
        while True:
            query = Query(user_id=user, status=status, prefix=self.prefix, limit=limit, cursor=cursor)
            page = self._call(which, "find", query)
            found += page.items
            cursor = page.cursor
            if cursor is None:
                break
        everything = Query(user_id=user, status=status, prefix=self.prefix, limit=1000)
        assert found == self.model.find(everything).items

    @rule(which=st.integers(0, 1), name=_names, stale=st.booleans())
    def delete(self, which: int, name: str, stale: bool) -> None:
        session_id = self.prefix + name
        header = self.model.load(session_id)
        expected = (header.version if header else 5) + stale
        outcomes = [
            self._tried(self._call, which, "delete", session_id, expected=expected),
            self._tried(self.model.delete, session_id, expected=expected),
        ]
        assert outcomes[0] == outcomes[1], outcomes

    @rule(which=st.integers(0, 1), pick=st.integers(0, 99), keep=st.integers(0, 6))
    def prune(self, which: int, pick: int, keep: int) -> None:
        dead = [log for log, name in self.logs.items() if (found := self.model.load(name)) is None or found.log != log]
        assume(dead)
        log = dead[pick % len(dead)]
        self._call(which, "prune", log, keep)
        self.model.prune(log, keep)

    @rule(which=st.integers(0, 1))
    def reopen(self, which: int) -> None:
        self._call(which, "close")
        self.stores[which] = self._open()

    @invariant()
    def same_logs(self) -> None:
        if hasattr(self, "stores"):
            mine = [log for log in self._call(0, "logs") if owner_of(log).startswith(self.prefix)]
            assert sorted(mine) == sorted(self.model.logs())

    @invariant()
    def same_headers(self) -> None:
        if not hasattr(self, "stores"):
            return
        for name in ("a", "A", "user/x", "user:x", "user_x", "ü"):
            for which in (0, 1):
                assert self._call(which, "load", self.prefix + name) == self.model.load(self.prefix + name)

    def teardown(self) -> None:
        for which in range(len(getattr(self, "stores", ()))):
            self._call(which, "close")
