"""How the index follows the store: whoever searches compares (session, log, last commit) of all headers with what is indexed.

No clock decides, and nothing has to be told of a commit: what another process said, took back or deleted is seen all the same.
A session's log is indexed from where it was left; a log that no session reads any more, or the end of one, goes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from sessile.errors import CorruptStore, Missing, SessileError
from sessile.store import MOST, Capabilities, Header, Query, SearchQuery, Store
from sessile_search.fulltext import text_of, words_of

KEY_SHIFT = 32  # a word's row is the log's key, and the position
_MOST = 2**KEY_SHIFT - 1  # entries of a log
_PIECE = 4096  # entries that are indexed in one transaction: others may write in between
_Known = dict[str, tuple[str, str]]  # session id -> log and id of the last commit, as they were indexed


def bring_up_to_date(db: sqlite3.Connection, store: Store, query: SearchQuery) -> None:
    """Index what a query may find, and forget what is gone."""
    known = _known(db, query)
    for header in _headers(store, query):
        if known.pop(header.session_id, None) != (header.log, header.commit):
            _index(db, store, header)
    for session_id in known:  # was not listed: it is gone, or was changed while the pages were read
        header = _loaded(store, session_id)
        if header is None:
            _forget_session(db, session_id)
        elif known[session_id] != (header.log, header.commit):
            _index(db, store, header)


def _known(db: sqlite3.Connection, query: SearchQuery) -> _Known:
    name, value = ("session_id", query.session_id) if query.session_id else ("user_id", query.user_id)
    rows = db.execute(f"SELECT session_id, log, last FROM sessions WHERE ? IS NULL OR {name} = ?", (value, value))
    return {session_id: (log, last) for session_id, log, last in rows}


def _headers(store: Store, query: SearchQuery) -> Iterator[Header]:
    """Those of the sessions that a query is about."""
    if query.session_id:
        header = _loaded(store, query.session_id)
        yield from [header] if header else []
        return
    cursor: str | None = None
    while True:
        page = store.find(Query(user_id=query.user_id, limit=MOST, cursor=cursor))
        yield from page
        cursor = page.cursor
        if cursor is None:
            return


def _loaded(store: Store, session_id: str) -> Header | None:
    try:
        header = store.load(session_id)
    except SessileError:  # it cannot be read, so nothing of it is found
        return None
    return None if header is None or header.hidden else header


def _index(db: sqlite3.Connection, store: Store, header: Header) -> None:
    """Index what a session reads, and remember how far that goes. Which logs it reads is fixed as long as its own is the same."""
    reads = {ancestor.log: ancestor.stop for ancestor in header.ancestors if ancestor.stop} | {header.log: header.head}
    reads = {log: min(stop, _MOST) for log, stop in reads.items()}
    db.execute("BEGIN IMMEDIATE")  # first, so that what is indexed is known to be read by somebody
    (before,) = db.execute("SELECT log FROM sessions WHERE session_id = ?", (header.session_id,)).fetchone() or (header.log,)
    if before != header.log:
        _drop(db, header.session_id)
    db.execute("INSERT OR IGNORE INTO sessions VALUES (?, ?, ?, '')", (header.session_id, header.user_id, header.log))
    rows = [(log, header.session_id, stop) for log, stop in reads.items()]
    sql = "INSERT INTO uses VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET stop = max(stop, excluded.stop)"
    db.executemany(sql, rows)
    db.execute("COMMIT")
    if _is_another(db, store, header):
        forget_log(db, header.log, 0)
    for log, stop in reads.items():
        while (cut := _index_piece(db, store, log, stop)) is False:
            pass
    db.execute("UPDATE logs SET hash = ? WHERE log = ? AND indexed = ?", (header.hash, header.log, header.head))
    (indexed,) = db.execute("SELECT coalesce(max(indexed), 0) FROM logs WHERE log = ?", (header.log,)).fetchone()
    if indexed >= header.head or cut:  # else it was deleted meanwhile, and may be put back
        whose = header.session_id, header.log
        db.execute("UPDATE sessions SET last = ? WHERE session_id = ? AND log = ?", (header.commit, *whose))


def _is_another(db: sqlite3.Connection, store: Store, header: Header) -> bool:
    """Is a session's log no longer what was indexed of it? So it is where an older copy was put back, and went on."""
    sql = "SELECT indexed, hash FROM logs WHERE log = ?"
    indexed, known = db.execute(sql, (header.log,)).fetchone() or (0, "")
    if indexed > header.head:
        now = _loaded(store, header.session_id)  # the list may be older than what another process has indexed
        return now is not None and now.log == header.log and now.head < indexed
    try:
        return bool(known) and store.read(header.log, indexed - 1, indexed)[0].hash != known
    except (CorruptStore, Missing):
        return False


def _index_piece(db: sqlite3.Connection, store: Store, log: str, stop: int) -> bool | None:
    """Index the next entries of a log, up to `stop`, in one transaction. False where there are more.

    None where it is done, True where the log ends before.
    """
    key, indexed = db.execute("SELECT key, indexed FROM logs WHERE log = ?", (log,)).fetchone() or (None, 0)
    until = min(indexed + _PIECE, stop)
    if indexed >= until:
        return None
    rows, cut = _texts(store, log, indexed, until)
    db.execute("BEGIN IMMEDIATE")
    now = db.execute("SELECT key, indexed FROM logs WHERE log = ?", (log,)).fetchone() or (None, 0)
    (used,) = db.execute("SELECT coalesce(max(stop), 0) FROM uses WHERE log = ?", (log,)).fetchone()
    if now != (key, indexed) or used < until:  # another process was first, or has seen that nobody reads it any more
        db.execute("COMMIT")
        return False if now != (key, indexed) else None
    if key is None:
        key = db.execute("INSERT INTO logs (log) VALUES (?)", (log,)).lastrowid
    first = (key or 0) << KEY_SHIFT
    said = [(first + position, words_of(text)) for position, text in rows]
    db.executemany("INSERT INTO said (rowid, words) VALUES (?, ?)", said)
    db.execute("UPDATE logs SET indexed = ? WHERE key = ?", (until, key))
    db.execute("COMMIT")
    return cut


def _texts(store: Store, log: str, start: int, stop: int) -> tuple[Iterable[tuple[int, str]], bool]:
    """(position, text) of the messages of a range, and whether the log ends before that does."""
    try:
        return _whole(store, log, start, stop), False
    except CorruptStore:
        return _readable(store, log, start, stop), False
    except Missing:
        return _readable(store, log, start, stop), not _is_there(store, log, stop - 1)


def _whole(store: Store, log: str, start: int, stop: int) -> Iterable[tuple[int, str]]:
    quick = Capabilities.of(store).read_messages
    messages = quick(log, start, stop) if quick else ()
    if len(messages) == stop - start:  # nothing but messages: they are in the order of their positions
        return enumerate([said.text for said in messages], start)
    return [(entry.position, text_of(entry)) for entry in store.read(log, start, stop, "message")]


def _readable(store: Store, log: str, start: int, stop: int) -> list[tuple[int, str]]:
    """What can be read of a range: a broken entry hides none of the others."""
    try:
        return [*_whole(store, log, start, stop)]
    except (CorruptStore, Missing):
        if stop - start == 1:
            return []
        middle = (start + stop) // 2
        return [*_readable(store, log, start, middle), *_readable(store, log, middle, stop)]


def _is_there(store: Store, log: str, position: int) -> bool:
    """Has a log an entry at a position, whether it can be read or not? A header may say that it is longer than it is."""
    try:
        store.read(log, position, position + 1, "message")
    except Missing:
        return False
    except CorruptStore:
        pass
    return True


def forget_log(db: sqlite3.Connection, log: str, keep: int) -> None:
    """Take out the words of a log from a position on. Where a session reads it after all, the next search indexes it again."""
    db.execute("BEGIN IMMEDIATE")
    _cut(db, log, keep)
    reads = "SELECT session_id FROM uses WHERE log = ? AND stop > ?"
    db.execute(f"UPDATE sessions SET last = '' WHERE session_id IN ({reads})", (log, keep))
    db.execute("COMMIT")


def _forget_session(db: sqlite3.Connection, session_id: str) -> None:
    db.execute("BEGIN IMMEDIATE")
    _drop(db, session_id)
    db.execute("COMMIT")


def _drop(db: sqlite3.Connection, session_id: str) -> None:
    """Take a session out, and the words that no other session reads."""
    logs = db.execute("SELECT log FROM uses WHERE session_id = ?", (session_id,)).fetchall()
    db.execute("DELETE FROM uses WHERE session_id = ?", (session_id,))
    db.execute("DELETE FROM sessions WHERE session_id = ?", (session_id,))
    for (log,) in logs:
        (stop,) = db.execute("SELECT coalesce(max(stop), 0) FROM uses WHERE log = ?", (log,)).fetchone()
        _cut(db, log, stop)


def _cut(db: sqlite3.Connection, log: str, keep: int) -> None:
    key, indexed = db.execute("SELECT key, indexed FROM logs WHERE log = ?", (log,)).fetchone() or (0, 0)
    first = key << KEY_SHIFT
    if keep < indexed:
        db.execute("DELETE FROM said WHERE rowid >= ? AND rowid < ?", (first + keep, first + indexed))
        db.execute("UPDATE logs SET indexed = ? WHERE key = ?", (keep, key))
    if not keep:
        db.execute("DELETE FROM logs WHERE key = ?", (key,))


def drop_unused(db: sqlite3.Connection) -> None:
    """Take out the words of logs that no session reads."""
    db.execute("BEGIN IMMEDIATE")
    for (log,) in db.execute("SELECT log FROM logs WHERE log NOT IN (SELECT log FROM uses)").fetchall():
        _cut(db, log, 0)
    db.execute("COMMIT")
