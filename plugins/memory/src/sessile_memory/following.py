"""How the table follows the sessions of a user: each search takes in what they have new, and asks what counts in them now.

Nothing has to be told of a commit: what any process said, took back or deleted is seen when somebody searches, and a session that
is not in its store any more is not asked for. Which items are visible costs a row for each range of a log, never one an item.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

import sessile
from sessile import Entry, Session, SessionManager
from sessile.errors import SessileError
from sessile.store import from_entry
from sessile_memory.items import item_id
from sessile_memory.table import ADD, DELETE, UPDATE, MemoryTable, Row
from sessile_retrieval import Span

logger = logging.getLogger("sessile")
_KINDS = (ADD, UPDATE, DELETE)
_REMEMBERED = ("user", "assistant")  # whose messages are
_TABLES = """
CREATE TABLE IF NOT EXISTS followed (owner TEXT NOT NULL, log TEXT NOT NULL, session_id TEXT NOT NULL, seen TEXT NOT NULL,
    PRIMARY KEY (owner, log));
CREATE TABLE IF NOT EXISTS spans (owner TEXT NOT NULL, log TEXT NOT NULL, source TEXT NOT NULL, start INTEGER NOT NULL,
    stop INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS spans_log ON spans (owner, log);
CREATE TABLE IF NOT EXISTS taken (owner TEXT NOT NULL, source TEXT NOT NULL, start INTEGER NOT NULL, stop INTEGER NOT NULL,
    messages INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS taken_source ON taken (owner, source)
"""


_SOURCES = "SELECT DISTINCT source FROM spans WHERE owner = ? AND log = ?"
_READ = "SELECT 1 FROM spans WHERE owner = ? AND source = ?"


class Following:
    """What one session's memory sees: its own lineage, and the user's other conversations in its application.

    The siblings of its forks are none of these. messages: are the texts of messages remembered, too?
    """

    def __init__(self, table: MemoryTable, messages: bool) -> None:
        self.table = table
        self.messages = messages
        self._cursor: dict[str, Any] = {}
        self._others: dict[str, str] = {}  # the user's other conversations: their ids, by log
        with table.database.writing() as db:
            for statement in _TABLES.split(";"):
                db.execute(statement)

    def own(self, session: Session) -> list[Span]:
        """Take in what this session has new; what counts in it."""
        found = session.changes(self._cursor)
        if not found.cursor:
            self._cursor = {}
            return []
        log = found.cursor["logs"][-1]
        if found.added or found.gone or not self._cursor:
            self._take(session, log, session.changes().added, str(found.cursor["last"]))
            self._cursor = found.cursor
        return self._spans(session.user_id, [log])

    def others(self, session: Session) -> list[Span]:
        """Take in what the user's other conversations have new; what counts in them."""
        family = self._cursor["logs"][0] if self._cursor else ""
        manager = SessionManager(session.store).user(session.user_id)
        self._others = {}
        for header in manager.each():
            if (header.root or header.log) == family or header.session_id == session.session_id or header.app != session.app:
                continue
            if self._seen(session.user_id, header.log) != f"{header.commit} {self.messages}":
                self._catch_up(manager, header)
            self._others[header.log] = header.session_id
        return self._spans(session.user_id, self._others)

    def reader(self, session: Session, source: str, position: int) -> str:
        """The id of a session in which an entry counts, of those that were there when they were last listed; "" for none."""
        sql = "SELECT log FROM spans WHERE owner = ? AND source = ? AND start <= ? AND ? < stop"
        there = {**self._others, **({self._cursor["logs"][-1]: session.session_id} if self._cursor else {})}
        with self.table.database.reading() as db:
            logs = db.execute(sql, (session.user_id, source, position, position))
            return next((there[log] for (log,) in logs if log in there), "")

    def _catch_up(self, manager: SessionManager, header: sessile.Header) -> None:
        try:
            other = manager.get_session(header.session_id)
            if other is None:
                return
            with other:
                found = other.changes()
                if found.cursor and found.cursor["logs"][-1] == header.log:
                    self._take(other, header.log, found.added, f"{header.commit} {self.messages}")
        except SessileError:  # it was deleted meanwhile, or cannot be read: nothing of it is recalled
            return

    def _take(self, session: Session, log: str, spans: Iterable[sessile.Span], seen: str) -> None:
        """Take in the entries of spans that were not yet, and that these are what counts in the session of a log."""
        owner, counting = session.user_id, [*spans]
        for span in counting:
            for missing in self._missing(owner, span):
                rows = [*_rows(missing.log, session.read(missing), self.messages)]
                with self.table.database.writing() as db:
                    self.table.apply(owner, rows)
                    values = (owner, missing.log, missing.start, missing.stop, self.messages)
                    db.execute("INSERT INTO taken VALUES (?, ?, ?, ?, ?)", values)
        with self.table.database.writing() as db:
            db.execute("DELETE FROM spans WHERE owner = ? AND log = ?", (owner, log))
            db.executemany("INSERT INTO spans VALUES (?, ?, ?, ?, ?)", [(owner, log, *span) for span in counting])
            db.execute("INSERT OR REPLACE INTO followed VALUES (?, ?, ?, ?)", (owner, log, session.session_id, seen))

    def _missing(self, owner: str, span: sessile.Span) -> Iterator[sessile.Span]:
        """The parts of a span that were not taken in."""
        sql = "SELECT start, stop FROM taken WHERE owner = ? AND source = ? AND messages >= ? ORDER BY start"
        with self.table.database.reading() as db:
            taken = db.execute(sql, (owner, span.log, self.messages)).fetchall()
        start, end = span.start, span.stop or span.start
        for begin, stop in taken:
            if start < begin and begin <= end:
                yield sessile.Span(span.log, start, begin)
            start = max(start, stop) if begin <= end else start
        if start < end:
            yield sessile.Span(span.log, start, end)

    def forget(self, owner: str, log: str) -> int:
        """Erase what a session that was deleted, whose log this was, leaves but for what others inherit; how many items."""
        table = self.table
        with table.database.writing() as db:
            sources = {source for (source,) in db.execute(_SOURCES, (owner, log))} | {log}
            db.execute("DELETE FROM spans WHERE owner = ? AND log = ?", (owner, log))
            db.execute("DELETE FROM followed WHERE owner = ? AND log = ?", (owner, log))
            kept = {source for source in sources if db.execute(f"{_READ} LIMIT 1", (owner, source)).fetchone()}
            for source in sources - kept:
                db.execute("DELETE FROM taken WHERE owner = ? AND source = ?", (owner, source))
            return table.forget(owner, sources - kept)

    def _seen(self, owner: str, log: str) -> str:
        with self.table.database.reading() as db:
            (seen,) = db.execute("SELECT seen FROM followed WHERE owner = ? AND log = ?", (owner, log)).fetchone() or ("",)
        return str(seen)

    def _spans(self, owner: str, logs: Iterable[str]) -> list[Span]:
        sql = "SELECT source, start, stop FROM spans WHERE owner = ? AND log = ?"
        with self.table.database.reading() as db:
            return [Span(*row) for log in logs for row in db.execute(sql, (owner, log))]


def _rows(log: str, entries: Iterable[Entry], messages: bool) -> Iterator[Row]:
    for entry in entries:
        if entry.kind in _KINDS:
            if _is_whole(entry):
                yield Row(log, entry.position, entry.kind, entry.body, entry.time)
            else:  # somebody else's, as anybody may append entries
                logger.warning("an entry %r is no memory, and left out: %.80r", entry.kind, entry.body)
        elif messages and entry.kind == "message":
            said = from_entry(entry)
            if said.role in _REMEMBERED and said.text.strip():
                about = {name: value for name, value in said.metadata.items() if isinstance(value, (str, int, float, bool))}
                made = item_id(str(said.id), "text")
                body = {
                    "id": made,
                    "text": said.text,
                    "kind": "message",
                    "origin": said.role,
                    "metadata": {**about, "message_id": said.id},
                }
                yield Row(log, entry.position, "message", body, said.timestamp or entry.time, str(about.get("name", "")))


def _is_whole(entry: Entry) -> bool:
    needed = ("id",) if entry.kind == DELETE else ("id", "text", "kind", "origin")
    metadata, quality = entry.body.get("metadata"), entry.body.get("quality")
    right = all(isinstance(entry.body.get(name), str) for name in needed)
    return right and isinstance(metadata, (dict, type(None))) and isinstance(quality, (int, float, type(None)))


def text_of(entry: Entry) -> str:
    """The text that evidence of an entry is about."""
    if entry.kind == "message":
        return from_entry(entry).text
    return str(entry.body.get("text", ""))
