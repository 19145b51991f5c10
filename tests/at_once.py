"""A process that does everything at random with a few sessions of two users, in three threads. Run by test_at_once.py.

    python tests/at_once.py URL OTHER_URL FOLDER NAME SEED SECONDS

Each thread keeps a journal, FOLDER/NAME-N.jsonl: a line before each step and one behind it.
What a session says begins with its user's name.
"""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs

from sessile import Agent, Session, SessionManager
from sessile.errors import AccessDenied, InvalidInput, SessileError, SessionExists, SessionNotFound
from sessile.transfer.copying import copy_store

USERS = ("ann", "bob")
IDS = ("s0", "s0", "s0", "s0", "s1", "s1", "s2", "s3")  # whose session one of these is, says who begins it
THREADS = 3  # of a process
MOST = 12  # sessions of a user; more are deleted again
GONE = (SessionNotFound, AccessDenied)  # somebody deleted it, and perhaps the other user has begun another

# How often a step is taken, and which errors it may end with (exactly these classes).
STEPS: dict[str, tuple[int, tuple[type[SessileError], ...]]] = {
    "say": (12, GONE),
    "say_more": (5, GONE),
    "chat": (5, GONE),
    "set_state": (3, GONE),
    "update_state": (3, GONE),
    "count_up": (3, GONE),
    "set_history": (2, GONE),
    "snapshot": (3, GONE),
    "revert": (3, (*GONE, InvalidInput)),
    "undo": (4, (*GONE, InvalidInput)),
    "redo": (4, (*GONE, InvalidInput)),
    "fork": (6, (*GONE, InvalidInput, SessionExists)),
    "edit": (2, (*GONE, InvalidInput, SessionExists)),  # a sweep of all that is not ready yet may take a new one away
    "merge": (3, (*GONE, SessionExists)),
    "export": (3, GONE),
    "import_": (3, (*GONE, SessionExists)),
    "load": (1, GONE),
    "archive": (1, GONE),
    "delete": (4, GONE),
    "delete_by_id": (1, (AccessDenied,)),
    "delete_oldest": (2, GONE),
    "copy": (1, ()),
    "copy_within": (1, ()),
    "delete_copy": (1, ()),
    "sweep": (1, ()),
    "read": (8, GONE),
    "list_": (3, ()),
}


@attrs.define
class Opened:
    """A session that is open. log: the id of its log; "" until it is stored."""

    session: Session
    user: str
    log: str = ""


def check_user(user: str, texts: Iterable[Any]) -> None:
    """Nobody is shown what another user said."""
    for text in texts:
        assert str(text).startswith(f"{user} "), f"{user} is shown {text!r}"


class Hesitant:
    """A store that now and then takes its time before it does anything: then others are in between more often."""

    def __init__(self, store: Any, draw: random.Random) -> None:
        self.store, self.draw = store, draw

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.store, name)
        if not callable(value):
            return value

        def call(*arguments: Any, **more: Any) -> Any:
            if self.draw.random() < 0.15:
                time.sleep(self.draw.choice((0.001, 0.01, 0.05)))
            return value(*arguments, **more)

        return call


class Worker:
    """See the module's text."""

    def __init__(self, url: str, other: str, folder: Path, name: str, seed: str) -> None:
        self.draw = random.Random(f"{seed} {name}")
        self.url, self.other, self.folder, self.name = url, other, folder, name
        self.opener = SessionManager(url)
        self.manager = SessionManager(Hesitant(self.opener.store, self.draw))
        self.number = 0
        self.files: list[tuple[str, Path]] = []
        self.opened: dict[tuple[str, str], Opened] = {}
        self.user = USERS[0]
        self.one: Opened | None = None

    def run(self, seconds: float) -> None:
        """Take steps for so long. What must not happen is written to the journal, and raised."""
        over = time.monotonic() + seconds
        with (self.folder / f"{self.name}.jsonl").open("w") as self.file, self.opener:
            try:
                while time.monotonic() < over:
                    self.step()
            except BaseException:
                self.write(failed=traceback.format_exc())
                raise
            finally:
                for one in self.opened.values():
                    one.session.close()

    def write(self, **line: Any) -> None:
        self.file.write(json.dumps({"number": self.number, "time": time.monotonic(), **line}) + "\n")
        self.file.flush()

    def step(self) -> None:
        """One step, drawn at random."""
        (verb,) = self.draw.choices(list(STEPS), [weight for weight, _ in STEPS.values()])
        self.number += 1
        try:
            one = self.open_any()
            self.begin(verb, one)
            self.write(**{"done": verb, **(getattr(self, verb)(one) or {})})
        except SessileError as error:
            if type(error) not in {*STEPS[verb][1], *GONE}:  # opening the session may fail before any step
                raise
            self.write(error=type(error).__name__, text=str(error))
            if isinstance(error, SessionNotFound):
                self.forget()

    def begin(self, verb: str, one: Opened, **more: Any) -> None:
        """Write that a step begins, and to which log."""
        self.write(begin=verb, user=self.user, id=one.session.session_id, log=one.log, **more)

    def open(self, session_id: str) -> Opened:
        """A session of the user, opened now or long ago."""
        key = (self.user, session_id)
        if key in self.opened and self.draw.random() < 0.4:
            self.opened.pop(key).session.close()
        if key not in self.opened:
            session = Session(session_id, user_id=self.user, store=self.manager.store, agent=Agent(model="echo"))
            self.opened[key] = Opened(session, self.user)
        return self.know(self.opened[key])

    def open_any(self) -> Opened:
        """A session of either user."""
        session_id = self.draw.choice(IDS)
        self.user, other = self.draw.sample(USERS, 2)
        try:
            return self.open(session_id)
        except AccessDenied:
            self.user = other
            return self.open(session_id)

    def know(self, one: Opened) -> Opened:
        if not one.log:
            one.log = self.log_of(one.session)
        return one

    def log_of(self, session: Session) -> str:
        """The id of the log that an open session has; "" for one that is not stored. `SessionNotFound` once it is deleted."""
        since = time.monotonic()
        header = session.to_dict()["header"]
        if not header["version"]:
            return ""
        self.write(known=header["log"], since=since, above=[log for log, _ in header["ancestors"]])
        return str(header["log"])

    def forget(self) -> None:
        """Some session is gone: if it was known, somebody must have deleted it."""
        for key, opened in list(self.opened.items()):
            try:
                opened.session.message_count  # noqa: B018
            except SessionNotFound:
                self.write(gone=opened.log)
            except AccessDenied:
                pass
            else:
                continue
            del self.opened[key]

    def text(self) -> str:
        return f"{self.user} {self.name} {self.number}.{self.draw.randrange(10**6)}"

    def target(self) -> str | None:
        return self.draw.choice([*IDS[3:], None, None])

    def said(self, one: Opened, *texts: str) -> dict[str, Any]:
        """What was acknowledged, and by which log."""
        with suppress(SessionNotFound):
            one.log = one.log or self.log_of(one.session)
        return {"log": one.log, "texts": texts}

    # -- saying

    def say(self, one: Opened) -> dict[str, Any]:
        text = self.text()
        one.session.add_message("user", text)
        return self.said(one, text)

    def say_more(self, one: Opened) -> dict[str, Any]:
        texts = [self.text() for _ in range(3)]
        one.session.add_messages([("user", text) for text in texts])
        return self.said(one, *texts)

    def chat(self, one: Opened) -> dict[str, Any]:
        text = self.text()
        assert one.session.chat(text) == text
        return self.said(one, text, text)

    def set_history(self, one: Opened) -> dict[str, Any]:
        present, text = one.session.messages, self.text()
        one.session.set_history([*present[: self.draw.randint(0, len(present))], {"role": "user", "content": text}])
        return self.said(one, text)

    # -- state

    def set_state(self, one: Opened) -> None:
        one.session.set_state(self.draw.choice("abc"), self.text())

    def update_state(self, one: Opened) -> None:
        def longer(old: Any) -> Any:
            check_user(self.user, old)
            return [*old[-5:], self.text()]

        one.session.update_state("list", longer, [])

    def count_up(self, one: Opened) -> None:
        one.session.increment_state("user:count")

    # -- going back and forth

    def snapshot(self, one: Opened) -> dict[str, Any]:
        made = one.session.snapshot(self.text())
        return {**self.said(one), "position": made.position}

    def revert(self, one: Opened) -> dict[str, Any]:
        points = [self.draw.randint(0, 20), -1, -1, *one.session.snapshots()[-2:]]
        point: Any = self.draw.choice(points)
        was = one.session.revert(point)
        count = point if isinstance(point, int) else point.count
        return {**self.said(one), "reverted": was.position, "to": count}

    def undo(self, one: Opened) -> dict[str, Any]:
        return {**self.said(one), "undone": one.session.undo().position}

    def redo(self, one: Opened) -> None:
        one.session.redo()

    # -- forks

    def fork(self, one: Opened) -> dict[str, Any]:
        points: list[Any] = [None, None, self.draw.randint(0, 8), *one.session.snapshots()[-2:]]
        point = self.draw.choice(points)
        with one.session.fork(point, self.target()) as child:
            return self.born(child)

    def edit(self, one: Opened) -> dict[str, Any] | None:
        if not (messages := one.session.messages):
            return None
        with one.session.edit(self.draw.choice(messages), self.text()) as child:
            return self.born(child)

    def merge(self, one: Opened) -> dict[str, Any] | None:
        other = self.open(self.draw.choice([name for name in IDS if name != one.session.session_id]))
        with one.session.merge(other.session, session_id=self.target()) as child:
            return self.born(child)

    def born(self, child: Session) -> dict[str, Any]:
        """What a new session has: that stays."""
        child.agent = Agent(model="echo")
        messages = child.messages
        check_user(self.user, [message.text for message in messages])
        return {"born": self.log_of(child), "ids": [message.id for message in messages]}

    # -- files

    def export(self, one: Opened) -> None:
        path = self.folder / f"{self.name}-{self.number}.session"
        one.session.export(path, lineage=self.draw.choice(["kept", "kept", "resolved"]))
        self.files.append((self.user, path))

    def import_(self, one: Opened) -> dict[str, Any] | None:
        own = [path for user, path in self.files if user == self.user]
        if not own:
            return None
        name = self.target() or f"i{self.name}-{self.number}"
        with self.manager.import_session(self.draw.choice(own), name, user_id=self.user) as made:
            return self.born(made)

    def load(self, one: Opened) -> None:
        path = self.folder / f"{self.name}-{self.number}.session"
        one.session.save(path)
        self.say(one)
        one.session.load(path)

    # -- the end of sessions

    def archive(self, one: Opened) -> None:
        one.session.archive()

    def delete(self, one: Opened) -> dict[str, Any]:
        cascade = self.draw.random() < 0.2 and bool(one.log)
        if one.log:
            self.begin("delete", one, deletes=one.log, cascade=cascade)
        else:  # not stored when it was opened: whichever session has the id by now
            self.begin("delete", one, deletes_id=one.session.session_id)
        one.session.delete(cascade=cascade)
        del self.opened[self.user, one.session.session_id]
        return {"deleted": one.log}

    def delete_by_id(self, one: Opened) -> None:
        self.begin("delete_by_id", one, deletes_id=one.session.session_id)
        self.manager.delete(one.session.session_id, user_id=self.user)

    def delete_oldest(self, one: Opened) -> dict[str, Any] | None:
        found = self.manager.list(user_id=self.user).items
        if len(found) < MOST:
            return None
        with Session(found[-1].session_id, user_id=self.user, store=self.manager.store) as session:
            log = self.log_of(session)
            self.begin("delete_oldest", Opened(session, self.user, log), deletes=log, cascade=False)
            session.delete()
        return {"deleted": log}

    # -- the whole store

    def copy(self, one: Opened) -> dict[str, Any]:
        report = copy_store(self.manager.store, self.other, user_id=self.draw.choice([None, self.user]))
        return {"problems": report.problems}

    def copy_within(self, one: Opened) -> None:
        copy_store(self.manager.store, self.url)

    def delete_copy(self, one: Opened) -> None:
        with SessionManager(self.other) as manager:
            if found := manager.list().items:
                manager.delete(self.draw.choice(found).session_id)

    def sweep(self, one: Opened) -> None:
        self.manager.sweep(repair=True, older_than=self.draw.choice([0, 3600]))

    # -- reading

    def read(self, one: Opened) -> None:
        session = one.session
        for messages in (session.messages, session.get_history(3)):
            check_user(self.user, [message.text for message in messages])
        own = {key: value for key, value in session.get_state().items() if not key.startswith("user:")}
        check_user(self.user, [text for value in own.values() for text in (value if isinstance(value, list) else [value])])
        check_user(self.user, [snapshot.label for snapshot in session.snapshots() if not snapshot.label.startswith("before ")])
        verified = session.verify()
        assert verified, verified
        assert session.tree()["user_id"] == self.user
        assert all(header.user_id == self.user for header in session.children())
        _ = session.parent, session.get_context()

    def list_(self, one: Opened) -> None:
        assert all(header.user_id == self.user for header in self.manager.each(user_id=self.user, limit=3))
        check_user(self.user, [hit.message.text for hit in self.manager.search(self.user, user_id=self.user, limit=5)])


def work(url: str, other: str, folder: Path, name: str, seed: str, seconds: float) -> None:
    """All that a process does: it ends when its threads have."""
    workers = [Worker(url, other, folder, f"{name}-{number}", seed) for number in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as threads:
        for ended in [threads.submit(worker.run, seconds) for worker in workers]:
            ended.result()


def main(url: str, other: str, folder: str, name: str, seed: str, seconds: str) -> None:
    work(url, other, Path(folder), name, seed, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
