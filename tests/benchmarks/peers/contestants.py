"""What is measured: each keeps conversations in its own way, behind the same few methods.

Compared is the store that a program has in its hands: append what was just said, read it again. All are files on the same disk,
written by one process that is alone with them, and a commit waits for the disk (`durability` asks the open connection). A pair
is what was appended when the call has returned; how many commits and syncs that takes is in the footnotes. A new handle is a new
store or connection in a process that has imported everything; the files are in the system's cache.

Not compared is what the frameworks do besides. openai-agents and google-adk have a runner, which asks their session for the
history and gives it what was said: here the session is called, and the runner's own time is left out. LangGraph has no session
beside its graph: a turn is a run of the graph, and its checkpoints carry more than messages, so that a run that stopped in the
middle goes on. So there are two rows of some, to lay side by side. Question and answer apart, around a model that answers at
once: `chat`, `invoke`; and without a model, `add_items` twice and google-adk. Both at once: `add_messages`, `add_items`,
`update_state`. What a row promises besides differs (see the footnotes), and may be what makes it slower, or faster.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from sessile import Agent, FileSessionStore, Session, SQLiteSessionStore
from sessile.drive.faces import run
from sessile.log.entries import MESSAGE
from sessile.log.ids import new_id
from sessile.log.stamping import Change, Draft
from tests.benchmarks.floor import Bare

Said = tuple[str, str]  # role and text
AT_ONCE = 1000  # messages in one commit, while a session is filled


class Contestant:
    """folder: where it may keep files. Its methods are those of `Floor`; those of `InALoop` are awaited.

    title: what is measured. package: the distribution. about: what was called, and what is to be known of it.
    most: the longest session that is measured. why: why none is that is longer.
    """

    title: str
    package = ""
    about: str
    most: int | None = None
    why = ""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.handles: dict[str, Any] = {}  # of sessions, until it is closed

    def timed(self, action: Callable[[], Any]) -> tuple[float, Any]:
        """The seconds that a call takes, and what it returns."""
        begin = time.perf_counter()
        result = action()
        return time.perf_counter() - begin, result

    def do(self, action: Callable[[], Any]) -> Any:
        return self.timed(action)[1]

    def handle(self, session: str) -> Any:
        """The handle of a session, made once until it is closed."""
        if session not in self.handles:
            self.handles[session] = self.opened(session)
        return self.handles[session]

    def opened(self, session: str) -> Any:
        raise NotImplementedError

    def end(self) -> None:
        """Called once, after all."""


class InALoop(Contestant):
    """One whose methods are awaited: time is taken within the event loop, as a program has it that lives in one."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.runner = asyncio.Runner()

    def timed(self, action: Callable[[], Any]) -> tuple[float, Any]:
        return self.runner.run(self._timed(action))

    async def _timed(self, action: Callable[[], Any]) -> tuple[float, Any]:
        begin = time.perf_counter()
        result = action()
        if asyncio.iscoroutine(result):
            result = await result
        return time.perf_counter() - begin, result

    def end(self) -> None:
        self.runner.close()


def chunks(said: Sequence[Said]) -> list[Sequence[Said]]:
    return [said[start : start + AT_ONCE] for start in range(0, len(said), AT_ONCE)]


def settings(execute: Callable[[str], Any]) -> str:
    """What a connection to SQLite says of its durability. execute: runs SQL and returns a value."""
    how = ("off", "normal", "full", "extra")[execute("PRAGMA synchronous")]
    return f"journal_mode={execute('PRAGMA journal_mode')}, synchronous={how}"


def settings_of(db: sqlite3.Connection) -> str:
    return settings(lambda sql: db.execute(sql).fetchone()[0])


class Floor(Contestant):
    title = "by hand: one table"
    about = "messages as JSON in one table with an index, nothing else; a pair is one commit of two rows: one sync"

    def open(self) -> None:
        self.bare = Bare(self.folder / "floor.db")

    def close(self) -> None:
        self.bare.db.close()

    def fill(self, session: str, said: Sequence[Said]) -> None:
        for some in chunks(said):
            self.bare.add(session, some)

    def append_pair(self, session: str, question: str, answer: str) -> None:
        self.bare.add(session, [("user", question), ("assistant", answer)])

    def last(self, session: str, count: int) -> list[Said]:
        return [(message["role"], message["content"]) for message in self.bare.last(count, session)]

    def whole(self, session: str) -> list[Said]:
        return [(message["role"], message["content"]) for message in self.bare.whole(session)]

    def durability(self) -> str:
        return settings_of(self.bare.db)


class Answering:
    """A model that says what it is told to."""

    answer = ""

    def generate(self, request: Any) -> str:
        return self.answer


class SQLite(Contestant):
    title = "SQLiteSessionStore, add_messages"
    package = "sessile"
    about = (
        "a pair is one commit: one sync. An open session keeps the last messages; when it is read, it only asks the store "
        "whether somebody else has written"
    )

    def open(self) -> None:
        self.store: Any = SQLiteSessionStore(self.folder / "sessile.db")
        self.model = Answering()

    def opened(self, session: str) -> Session:
        return Session(session, store=self.store, agent=Agent(model=self.model))

    def close(self) -> None:
        for session in self.handles.values():
            session.close()
        self.handles.clear()
        self.store.close()

    def fill(self, session: str, said: Sequence[Said]) -> None:
        for some in chunks(said):
            self.handle(session).add_messages(some)

    def append_pair(self, session: str, question: str, answer: str) -> None:
        self.handle(session).add_messages([("user", question), ("assistant", answer)])

    def last(self, session: str, count: int) -> list[Said]:
        return [(message["role"], message["content"]) for message in self.handle(session).get_history(count)]

    def whole(self, session: str) -> list[Said]:
        return [(message["role"], message["content"]) for message in self.handle(session).get_history()]

    def durability(self) -> str:
        return settings_of(self.store._connection.db)


class SQLiteTurns(SQLite):
    title = "SQLiteSessionStore, chat"
    about = (
        "a pair is a turn: the question is committed, a model is called that answers at once, the answer is committed: two syncs"
    )

    def fill(self, session: str, said: Sequence[Said]) -> None:
        """Turns as `chat` stores them, but many in a commit."""
        for some in chunks(said):
            drafts, turn = [], None
            for role, text in some:
                own = new_id()
                turn = own if role == "user" else turn
                drafts.append(Draft(MESSAGE, {"role": role, "content": text}, id=own, turn=turn))
            run(self.handle(session)._handle.commit(lambda _, drafts=drafts: Change(drafts)))

    def append_pair(self, session: str, question: str, answer: str) -> None:
        self.model.answer = answer
        self.handle(session).chat(question)


class _InFiles(SQLite):
    def open(self) -> None:
        self.store = FileSessionStore(self.folder / "sessions")
        self.model = Answering()

    def durability(self) -> str:
        return "a commit is one write to the session's log and one fdatasync"


class File(_InFiles):
    title = "FileSessionStore, add_messages"


class FileTurns(_InFiles, SQLiteTurns):
    title = "FileSessionStore, chat"
