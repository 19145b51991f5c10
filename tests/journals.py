"""What must be true of a store after processes did everything at once (see at_once.py), by the journals that they kept."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from sessile import Header, Session, SessionManager
from sessile.errors import Missing
from sessile.testing import fixtures
from tests.at_once import USERS, check_user

HEIRS = "~heirs:"  # how the ids of the records of who inherits begin
Said = tuple[Any, str] | None  # the messages that count: what was before the last one, and its id; None: none


@attrs.define
class Journal:
    """What processes were told.

    said: log -> what it acknowledged. born: log -> ids of messages that it had when it was made. deleted: logs whose deletion
    was acknowledged. doomed: log -> does the deletion, that was begun, mean its forks, too? ids: session id -> when deletions
    by it ended. begun: log -> when the step began that knew it first. above: log -> those that it inherits from.
    gone: logs that were found deleted. back: log -> steps that went back. counted: user -> [increments acknowledged, begun].
    """

    said: dict[str, list[str]] = attrs.field(factory=dict)
    born: dict[str, list[str]] = attrs.field(factory=dict)
    deleted: set[str] = attrs.field(factory=set)
    doomed: dict[str, bool] = attrs.field(factory=dict)
    ids: dict[str, list[float]] = attrs.field(factory=dict)
    begun: dict[str, float] = attrs.field(factory=dict)
    above: dict[str, list[str]] = attrs.field(factory=dict)
    gone: set[str] = attrs.field(factory=set)
    back: dict[str, list[dict[str, Any]]] = attrs.field(factory=dict)
    counted: dict[str, list[int]] = attrs.field(factory=lambda: {user: [0, 0] for user in USERS})
    steps: Counter[str] = attrs.field(factory=Counter)

    def read(self, path: Path) -> None:
        """Add what a process wrote. Whoever was killed may have left half a line."""
        before: dict[str, Any] = {}
        for text in path.read_text().split("\n")[:-1]:
            line = json.loads(text)
            assert "failed" not in line, f"process {path.stem}, step {line['number']}: {before}\n{line['failed']}"
            if "begin" in line:
                if before:
                    self._deletes(before, before["time"] if "deletes_id" not in before else None)
                before = line
                self.counted[line["user"]][1] += line["begin"] == "count_up"
                self._knows(line["log"], line["time"])
            elif "known" in line:
                self._knows(line["known"], line["since"])
                self.above[line["known"]] = line["above"]
            elif "gone" in line:
                self.gone.update(filter(None, [line["gone"]]))
            else:
                began = before.get("time", line["time"]) if before.get("number") == line["number"] else line["time"]
                self._ended(before, line, began)
                if before:
                    self._deletes(before, line["time"])
                before = {}
        if before:  # it was killed
            self._deletes(before, None)

    def _knows(self, log: str, time: float) -> None:
        if log:
            self.begun[log] = min(time, self.begun.get(log, time))

    def _deletes(self, begin: dict[str, Any], ended: float | None) -> None:
        if log := begin.get("deletes"):
            self.doomed[log] = self.doomed.get(log, False) or begin["cascade"]
        if name := begin.get("deletes_id"):
            self.ids.setdefault(name, []).append(float("inf") if ended is None else ended)

    def _ended(self, begin: dict[str, Any], line: dict[str, Any], began: float) -> None:
        self.steps[line.get("done") or line["error"]] += 1
        if log := line.get("log"):
            self._knows(log, began)
            self.said.setdefault(log, []).extend(line["texts"])
            if "undone" in line or "reverted" in line:
                self.back.setdefault(log, []).append(line)
        if born := line.get("born"):
            self._knows(born, began)
            self.born[born] = line["ids"]
        if deleted := line.get("deleted"):
            self.deleted.add(deleted)
        if line.get("done") == "count_up":
            self.counted[begin["user"]][0] += 1

    def may_be_deleted(self, log: str) -> bool:
        """Did somebody begin to delete this log's session, or all that was forked from one of its ancestors?"""
        by_id = any(ended > self.begun[log] for ended in self.ids.get(log.partition(".")[2], ()))
        return log in self.doomed or by_id or any(self.doomed.get(above, False) for above in self.above[log])


def headers(manager: SessionManager) -> list[Header]:
    """All that there are, sessile's own and half made ones, too."""
    queries = [{"prefix": prefix, "status": status} for prefix in ("", "~") for status in (None, "pending", "deleted")]
    return [header for query in queries for header in fixtures.headers(manager.store, **query)]


def check_store(url: str, journal: Journal | None = None) -> None:
    """Everything there is whole before it is swept and after; then nothing is left over."""
    with SessionManager(url) as manager:
        for _ in range(2):
            there = {header.log: Checked(manager, header) for header in manager.each()}
            if journal is not None:
                check_journal(journal, there, manager)
            manager.sweep(repair=True, older_than=0)
        assert manager.sweep(older_than=0) == 0, "a second sweep finds nothing"
        check_swept(manager)


class Checked:
    """A session that was read in every way and is whole."""

    def __init__(self, manager: SessionManager, header: Header) -> None:
        with Session(header.session_id, user_id=header.user_id, store=manager.store) as session:
            verified = session.verify()
            assert verified, f"{header.session_id}: {verified}"
            messages = session.messages
            assert session.message_count == len(messages), header
            check_user(header.user_id, [message.text for message in messages])
            data = session.to_dict()
        self.header = header
        self.logs = [*data.get("inherited", ()), data["entries"]]
        self.entries = data["entries"]
        self.states: list[list[Said]] = []
        for depth in range(len(self.logs)):
            self.states.append(list(self._states(depth)))
        ids = list(members(self.states[-1][-1]))
        assert sorted(ids) == sorted(message.id for message in messages), f"{header.session_id} shows what does not count"
        assert len({*ids}) == len(ids), f"{header.session_id} shows a message twice"

    def _states(self, depth: int) -> Iterator[Said]:
        """What counts behind each number of entries of a log, from entry to entry."""
        now: Said = None
        states = [now]
        yield now
        for entry in self.logs[depth]:
            if entry["kind"] == "message":
                now = (now, entry["id"])
            elif entry["kind"] in ("revert", "fork"):
                before = entry["body"]["before"]
                now = None
                if before is not None:
                    now = (states if before[0] == depth else self.states[before[0]])[before[2]]
            states.append(now)
            yield now


def members(said: Said) -> Iterator[str]:
    """The ids of messages, the last one first."""
    while said is not None:
        said, last = said
        yield last


def check_journal(journal: Journal, there: dict[str, Checked], manager: SessionManager) -> None:
    """What was acknowledged is there, and what was deleted is not."""
    assert not journal.deleted & there.keys(), "a deleted session is there"
    for log in journal.gone | (journal.above.keys() - there.keys()):
        assert journal.may_be_deleted(log), f"{log} is gone, and nobody deleted it"
    for log, texts in journal.said.items():
        if log not in there:
            continue
        stored = Counter(str(entry["body"].get("content")) for entry in there[log].entries if entry["kind"] == "message")
        lost = Counter(texts) - stored
        assert not lost, f"{log} has lost {lost}"
        for line in journal.back.get(log, ()):
            check_back(there[log], line)
    for log, ids in journal.born.items():
        if log in there:
            inside = {entry["id"] for entries in there[log].logs for entry in entries}
            assert {*ids} <= inside, f"{log} has lost what it began with"
    for user, (done, begun) in journal.counted.items():
        with Session("counted", user_id=user, store=manager.store) as session:
            assert done <= session.get_state("user:count", 0) <= begun


def check_back(one: Checked, line: dict[str, Any]) -> None:
    """A step back took what it was to take: of what was there when it was committed, and no more."""
    position = line.get("undone", line.get("reverted"))
    before = list(members(one.states[-1][position]))
    after = list(members(one.states[-1][position + 2]))
    if "undone" in line:
        entries = {entry["id"]: entry for entries in one.logs for entry in entries}
        began = turns_of([entries[i] for i in reversed(before)])
        expected = began.index(max(dict.fromkeys(began), key=began.index))
    else:
        expected = line["to"] if line["to"] >= 0 else len(before) + line["to"]
    assert len(after) == expected, f"{one.header.log}: {line} left {len(after)} of {len(before)} messages, not {expected}"


def turns_of(messages: list[dict[str, Any]]) -> list[str]:
    """The turn of each message; outside of turns, that of the last user's message, as where somebody set an older history."""
    found: list[str] = []
    loose = ""
    for entry in messages:
        turn = entry.get("turn")
        if turn is None and (not loose or entry["body"]["role"] == "user"):
            loose = entry["id"]
        elif turn is not None and turn not in found:
            loose = ""
        found.append(turn or loose)
    return found


def check_swept(manager: SessionManager) -> None:
    """Logs are as long as somebody needs them, and the records of heirs name all who are there, and nobody else."""
    needed: dict[str, int] = {}
    heirs: dict[str, dict[str, int]] = {}
    records: dict[str, dict[str, Any]] = {}
    for header in headers(manager):
        assert header.status not in ("pending", "deleted"), header
        if header.session_id.startswith(HEIRS):
            records[header.session_id.removeprefix(HEIRS)] = header.state
        if header.head:
            needed[header.log] = max(header.head, needed.get(header.log, 0))
        for log, stop in header.ancestors:
            if stop:
                needed[log] = max(stop, needed.get(log, 0))
                heirs.setdefault(log, {})[header.log] = stop
    assert records == heirs
    assert {*manager.store.logs()} == {*needed}
    for log, stop in needed.items():
        assert len(manager.store.read(log, 0, stop)) == stop
        with pytest.raises(Missing):
            manager.store.read(log, stop, stop + 1)
