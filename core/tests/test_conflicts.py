"""What a handle does when somebody else committed first: it tries again, but not for ever; or says so (`on_conflict="raise"`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.faces import FACES, opener

from sessile import Agent, MemorySessionStore, Session, tool
from sessile.errors import Conflict, SessionNotFound
from sessile.log.ids import HEIRS

Verb = Callable[[Any], Any]


def assign_title(session: Any) -> None:
    session.title = "new"


# Each changes what its user has seen, or answers it anew: behind what another said meanwhile, it would do so unseen.
VERBS: dict[str, Verb] = {
    "add_message": lambda s: s.add_message("user", "mine"),
    "add_messages": lambda s: s.add_messages([("user", "mine")]),
    "chat": lambda s: s.chat("mine"),
    "set_history": lambda s: s.set_history([("user", "mine")]),
    "undo": lambda s: s.undo(),
    "redo": lambda s: s.redo(),
    "revert": lambda s: s.revert(1),
    "snapshot": lambda s: s.snapshot(),
    "save_version": lambda s: s.save_version(),
    "restore_version": lambda s: s.restore_version(0),
    "restore_checkpoint": lambda s: s.restore_checkpoint(1),
    "set_state": lambda s: s.set_state("k", "mine"),
    "set_state as it was": lambda s: s.set_state("k", "theirs"),
    "set_state of all": lambda s: s.set_state({"k": "mine"}),
    "delete_state": lambda s: s.delete_state("k"),
    "set_metadata": lambda s: s.set_metadata({"k": "mine"}),
    "title": assign_title,
    "archive": lambda s: s.archive(),
    "edit": lambda s: s.edit(s.first, "mine"),
    "regenerate": lambda s: s.regenerate(),
    "delete": lambda s: s.delete(),
    "commit": lambda s: s.commit(messages=[("user", "mine")]),
    "append": lambda s: s.append("my.note", {}),
    "pop": lambda s: s.pop(),
    "replace_tail": lambda s: s.replace_tail(None, [("user", "mine")]),
    "clear": lambda s: s.clear(),
    "set_title": lambda s: s.set_title("new"),
    "update_metadata": lambda s: s.update_metadata({"k": "mine"}),
    "create_checkpoint": lambda s: s.create_checkpoint("c"),
}
# These change nothing of what the session shows, or build on whatever is there.
EXEMPT = {
    "update_state", "increment_state", "update_preference",  # the change is made of the newest value
    "create", "save_state", "restore_state",  # what is there stays, or is what a plugin says
    "fork", "merge", "merge_sessions",  # another session
    "close", "hook", "save", "export", "to_dict",
    "entries", "exists", "message", "message_count", "messages", "metadata", "state", "status", "version", "parent",
    "checkpoints", "children", "created_at", "diff", "extract_topics", "get_context", "get_duration", "get_history",
    "get_preference", "get_preferences", "get_state", "list_versions", "snapshots", "tree", "updated_at", "verify",
    "to_openai", "usage", "changes", "read",
}  # fmt: skip


def test_every_verb_is_told_of() -> None:
    assert {*Session.verbs()} <= {*VERBS, *EXEMPT}
    assert not {*VERBS} & EXEMPT


@pytest.fixture(params=FACES)
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Session]]:
    """A session under "raise", in which there is something to undo and to redo, and another handle of it."""
    loop = asyncio.new_event_loop()
    store = MemorySessionStore()
    session = opener(request.param, loop)("s", store=store, agent=Agent(model="echo"), on_conflict="raise")
    session.chat("first")
    session.chat("second")
    session.save_version()
    session.set_state("k", "ours")
    session.undo()
    session.__dict__["first"] = session.messages[0]
    yield session, Session("s", store=store)
    loop.close()


@pytest.mark.parametrize("verb", VERBS)
def test_what_others_wrote_is_not_changed_unseen(pair: tuple[Any, Session], verb: str) -> None:
    session, other = pair
    other.set_state("k", "theirs")
    other.add_message("user", "theirs")
    before = other.store.load("s")
    for _ in range(2):  # as often as it is tried without a look
        with pytest.raises(Conflict, match=r"changed by somebody else.*look what is new"):
            VERBS[verb](session)
        assert other.store.load("s") == before
    assert len(session.messages) == 3
    if verb not in ("redo", "set_state as it was"):  # there is nothing to do any more
        VERBS[verb](session)
        assert other.store.load("s") != before or verb in ("edit", "regenerate")


@pytest.mark.parametrize("verb", VERBS)
def test_a_session_that_was_deleted_is_not_found_whatever_is_done(pair: tuple[Any, Session], verb: str) -> None:
    session, other = pair
    other.delete()
    with pytest.raises(SessionNotFound):
        VERBS[verb](session)


def test_what_builds_on_what_is_there_does_so(pair: tuple[Any, Session]) -> None:
    session, other = pair
    other.set_state("n", 1)
    assert session.increment_state("n") == 2
    other.set_state("n", 5)
    session.set_state("n", 7, policy="theirs")
    assert session.get_state("n") == 5
    session.set_state("user:k", 1)  # not the session's own
    assert other.get_state("user:k") == 1


class Contended(MemorySessionStore):
    """Somebody else commits to a session, or to a record, right before everybody's next commit to it."""

    def __init__(self) -> None:
        super().__init__()
        self.busy, self.commits = "", 0

    def commit(self, session_id: str, *, expected: int, **what: Any) -> None:
        if expected and self.busy and session_id.startswith(self.busy):
            header = self.load(session_id)
            assert header is not None
            self.commits += 1
            changes = {"version": header.version + 1, "commit": str(self.commits)}
            super().commit(session_id, expected=header.version, entries=(), changes=changes)
        super().commit(session_id, expected=expected, **what)


BUSY: dict[str, tuple[str, Verb]] = {
    "a message": ("s", lambda s: s.add_message("user", "x")),
    "a revert": ("s", lambda s: s.revert(0)),
    "a deletion": ("s", lambda s: s.delete()),
    "a fork": (HEIRS, lambda s: s.fork()),
}


@pytest.mark.parametrize("what", BUSY)
def test_what_always_loses_stands_back_and_gives_up(what: str) -> None:
    store = Contended()
    session = Session("s", store=store, timeout=0.2)
    session.add_message("user", "a")
    session.fork()
    store.busy, verb = BUSY[what]
    begin = time.monotonic()
    with pytest.raises(Conflict, match=r"others committed to .*'s' first for 0\.2 s: try again"):
        verb(session)
    assert time.monotonic() - begin < 10
    assert 3 < store.commits < 500  # without a pause it is tens of thousands
    store.busy = ""
    assert session.verify()
    assert len(session.children()) == 1


@pytest.mark.parametrize("risky", [False, True])
def test_an_automatic_snapshot_hides_nothing_that_others_wrote(risky: bool) -> None:
    store = MemorySessionStore()
    ran: list[str] = []

    @tool(risky=risky)
    def remove() -> str:
        ran.append("remove")
        return "done"

    class Calling:
        def generate(self, request: Any) -> Any:
            Session("s", store=store).add_message("user", "theirs")
            return {"role": "assistant", "content": None, "tool_calls": [{"name": "remove", "arguments": {}}]}

    session = Session("s", store=store, on_conflict="raise", agent=Agent(model=Calling(), tools=[remove]))
    with pytest.raises(Conflict, match="changed by somebody else"):
        session.chat("go")
    assert ran == []


@pytest.mark.parametrize("interval", [0, 1])
def test_a_snapshot_behind_a_turn_hides_nothing_that_others_wrote_and_fails_no_turn(interval: int) -> None:
    store = MemorySessionStore()

    class Other:
        def on_agent_message(self) -> None:
            Session("s", store=store).add_message("user", "theirs")

        def want_snapshot(self) -> str:
            return "mine"

    options: Any = {"agent": Agent(model="echo"), "plugins": [Other()], "checkpoint_interval": interval}
    session = Session("s", store=store, on_conflict="raise", **options)
    assert session.chat("hi") == "hi"
    with pytest.raises(Conflict, match="changed by somebody else"):
        session.add_message("user", "behind what was not seen")
    assert session.snapshots() == []
