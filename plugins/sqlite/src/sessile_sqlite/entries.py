"""Entries as rows: small, read without JSON where a message is only text, and the very same entries again, hashes and all.

`place` says where: the key of the log, the position in it, and the piece. The `kind` of a message that is only a role and a
text is the role's number, and its `body` is the text; any other's kind is its name, and its body JSON. Ids and hashes that are
hexadecimal digits, as nearly all are, lie as bytes, half as long. An entry with anything that no column holds as it is lies
whole, as JSON, in `body`, and has no kind. Columns have no types, so that 5 stays 5 and 5.0 stays 5.0.

A body of some length lies in pieces, which fill SQLite's pages; of those behind the first only place and body are set.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from sessile import Message
from sessile.errors import CorruptStore
from sessile.store import Entry, from_entry, from_json, missing, to_json
from sessile_search import text_of

COLUMNS = "place, kind, id, time, turn, count, base, prev, body, raw"

ROLES = ("system", "user", "assistant", "tool")  # what the numbers mean, in files that are there: for good
PIECE_BITS = 3  # of a place
KEY_SHIFT = PIECE_BITS + 31  # bits of a place below the key of the log

_PIECES = 2**PIECE_BITS
_POSITION = 2 ** (KEY_SHIFT - PIECE_BITS) - 1  # mask
_PIECE = 800  # bytes that a piece has at most; pages of 4,096 hold four and more
_OVERFLOWS = 4000  # bytes above which SQLite gives a body pages of its own, and fills them
_NUMBERS = {role: number for number, role in enumerate(ROLES)}
_NONE = type(None)
_PLAIN = tuple([int, bytes, float, turn, int, int, bytes, str, _NONE] for turn in (_NONE, bytes))  # of columns behind `place`
_LARGEST = 2**63  # what no integer in a column reaches
_Row: TypeAlias = Sequence[Any]


class Entries:
    """The entries of all logs of a store. `CorruptStore` where one cannot be read."""

    def __init__(self, table: str) -> None:
        self._logs, self._table = f"{table}_logs", f"{table}_entries"
        self._insert = f"INSERT INTO {self._table} ({COLUMNS}) VALUES ({', '.join('?' * 10)})"
        within = f"e.place >= (l.key << {KEY_SHIFT}) + ? AND e.place < (l.key << {KEY_SHIFT}) + ?"
        columns = ", ".join(f"e.{name}" for name in COLUMNS.split(", "))
        self._select = f"SELECT {columns} FROM {self._logs} l CROSS JOIN {self._table} e ON {within} WHERE l.log = ?"
        # of a kind, or whole (see above), or the last, which tells that the range is whole
        self._of_kind = f"AND (e.kind = ? OR e.kind IS NULL OR e.kind < ? OR e.place >= (l.key << {KEY_SHIFT}) + ?)"
        of_log = f"place >= l.key << {KEY_SHIFT} AND place < (l.key + 1) << {KEY_SHIFT}"
        last = f"(SELECT max(place) FROM {self._table} WHERE {of_log})"
        self.length = f"((({last} - (l.key << {KEY_SHIFT})) >> {PIECE_BITS}) + 1)"  # SQL for that of a log l; NULL if it is empty

    def add(self, db: sqlite3.Connection, key: int, rows: Iterable[_Row]) -> None:
        """Insert what `to_rows` made into the log of a key."""
        db.executemany(self._insert, [((key << KEY_SHIFT) + row[0], *row[1:]) for row in rows])

    def read(self, db: sqlite3.Connection | None, log: str, start: int, stop: int, kind: str | None) -> list[Entry]:
        """See `Store.read`."""
        rows = self._rows(db, log, start, stop, kind)
        with _readable(log):
            entries = [*map(_to_entry, rows)]
        if kind is None and len(entries) != stop - start:
            raise missing(log, start, stop)
        return entries if kind is None else [entry for entry in entries if entry.kind == kind]

    def read_messages(self, db: sqlite3.Connection | None, log: str, start: int, stop: int) -> list[Message]:
        """See `Capabilities`."""
        rows = self._rows(db, log, start, stop, "message")
        with _readable(log):
            return [*_messages(rows)]

    def texts(self, db: sqlite3.Connection, log: str, start: int, stop: int) -> list[tuple[int, str]]:
        """(place, text) of the messages of a range, where that can be read."""
        rows = self._rows(db, log, start, stop, "message")
        with _readable(log):
            return [*_texts(rows)]

    def _rows(self, db: sqlite3.Connection | None, log: str, start: int, stop: int, kind: str | None) -> Sequence[_Row]:
        """The rows of a range with its last, each whole, only those of a kind as far as it shows; else `Missing`."""
        sql, values = self._select, [start << PIECE_BITS, stop << PIECE_BITS, log]
        if kind is not None:
            sql += self._of_kind
            values += [kind, len(ROLES) if kind == "message" else 0, (stop - 1) << PIECE_BITS]
        with _decodable(log):
            rows = db.execute(f"{sql} ORDER BY e.place", values).fetchall() if db else []
        if not rows or position_of(rows[-1][0]) != stop - 1:
            raise missing(log, start, stop)
        if any(row[0] % _PIECES for row in rows):
            with _readable(log):
                return _joined(rows)
        return rows

    def cut(self, db: sqlite3.Connection, key: int, keep: int) -> None:
        """Delete the entries of a log from a position on."""
        bounds = place_of(key, keep), place_of(key + 1, 0)
        db.execute(f"DELETE FROM {self._table} WHERE place >= ? AND place < ?", bounds)


def to_rows(entry: Entry) -> list[tuple[Any, ...]]:
    """The rows of an entry. Their places are those in a log of key 0."""
    place = entry.position << PIECE_BITS
    if _fits(entry):
        kind, body = _kind_and_body(entry)
        turn = None if entry.turn is None else _short(entry.turn)
        about = (kind, _short(entry.id), entry.time, turn, entry.count, entry.base, _short(entry.prev))
    else:
        about, body = (None,) * 7, entry.json
    raw = None if about[0] is None else entry.raw
    if len(body) <= _PIECE // 4:  # so many characters are as many bytes at most
        return [(place, *about, body, raw)]
    first, *rest = _pieces(body)
    return [(place, *about, first, raw), *((place + n, *[None] * 7, piece, None) for n, piece in enumerate(rest, 1))]


@contextmanager
def _readable(log: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CorruptStore(f"a row of log {log!r} is no entry ({error}): restore a copy, or delete the session") from error


@contextmanager
def _decodable(log: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
        raise CorruptStore(f"a row of log {log!r} has a text that is none: restore a copy, or delete the session") from error


# -- to rows


def _fits(entry: Entry) -> bool:
    """Can each field of an entry lie in a column as it is?"""
    return (
        type(entry.time) is float
        and entry.time > 0  # 0.0 and -0.0 are the same there
        and type(entry.count) is int
        and type(entry.base) is int
        and -_LARGEST < min(entry.count, entry.base) <= max(entry.count, entry.base) < _LARGEST
        and type(entry.prev) is str
        and (entry.turn is None or type(entry.turn) is str)
        and (entry.raw is None or type(entry.raw) is str)
        and not entry.extra
    )


def _kind_and_body(entry: Entry) -> tuple[str | int, str]:
    body = entry.body
    if entry.kind == "message" and len(body) == 2:
        role, content = body.get("role"), body.get("content")
        if type(role) is str and type(content) is str and role in _NUMBERS:
            return _NUMBERS[role], content
    return entry.kind, to_json(body)


def _short(text: str) -> str | bytes:
    """Hexadecimal digits as bytes, if the very same text can be made from these again; other text as it is."""
    try:
        found = bytes.fromhex(text)
    except ValueError:
        return text
    return found if found.hex() == text else text


def _pieces(body: str) -> list[str]:
    """A text in pieces, unless it is so long that SQLite fills pages with it."""
    size = len(body) if body.isascii() else len(body.encode())
    count = -(-size // _PIECE) if size <= _OVERFLOWS else 1
    length = -(-len(body) // count)
    return [body[start : start + length] for start in range(0, len(body), length)]


# -- from rows


def place_of(key: int, position: int) -> int:
    """The place of an entry in the log of a key."""
    return (key << KEY_SHIFT) + (position << PIECE_BITS)


def position_of(place: int) -> int:
    """The position in its log of what is at a place."""
    return place >> PIECE_BITS & _POSITION


def _joined(rows: Iterable[_Row]) -> list[_Row]:
    """The rows with their pieces in them; pieces of entries that were not asked for are left out."""
    found: list[_Row] = []
    for row in rows:
        if not row[0] % _PIECES:
            found.append(row)
        elif found and found[-1][0] >> PIECE_BITS == row[0] >> PIECE_BITS:
            *before, body, raw = found[-1]
            found[-1] = (*before, f"{_text(body)}{_text(row[8])}", raw)
    return found


def _to_entry(row: _Row) -> Entry:
    place, kind, entry_id, time, turn, count, base, prev, body, raw = row
    if kind is None:
        return _whole(body, place)
    if [*map(type, row[1:])] in _PLAIN and kind >= 0:  # nearly always
        return Entry.of_fields(
            position_of(place),
            entry_id.hex(),
            time,
            {"content": body, "role": ROLES[kind]},
            count=count,
            base=base,
            prev=prev.hex(),
            turn=None if turn is None else turn.hex(),
        )
    data = {
        "position": position_of(place),
        "kind": "message" if type(kind) is int else kind,
        "id": _long(entry_id),
        "time": time,
        "body": {"content": _text(body), "role": _role(kind)} if type(kind) is int else from_json(_text(body)),
        "count": count,
        "base": base,
        "prev": _text(_long(prev)),
    }
    if turn is not None:
        data["turn"] = _text(_long(turn))
    if raw is not None:
        data["raw"] = _text(raw)
    return Entry.from_dict(data)


def _whole(body: object, place: int) -> Entry:
    found = Entry.from_json(_text(body))
    if found.position != position_of(place):
        raise ValueError(f"it says that its position is {found.position}")
    return found


def _long(value: Any) -> Any:
    return value.hex() if type(value) is bytes else value


def _text(body: object) -> str:
    if type(body) is not str:
        raise TypeError(f"its text is {body!r:.40}")
    return body


def _role(kind: int) -> str:
    if kind < 0:
        raise LookupError(f"its kind is {kind}")
    return ROLES[kind]


def _messages(rows: Iterable[_Row]) -> Iterator[Message]:
    for row in rows:
        _, kind, message_id, time, turn, _, _, _, body, raw = row
        if type(kind) is not int or kind < 0 or raw is not None or type(body) is not str or type(time) is not float:
            entry = _to_entry(row)
            if entry.kind == "message":
                yield from_entry(entry)
            continue
        if type(message_id) is bytes:
            message_id = message_id.hex()
        if turn is None:
            yield Message(content=body, role=ROLES[kind], id=message_id, timestamp=time)
        else:
            yield Message(content=body, role=ROLES[kind], id=message_id, timestamp=time, turn=_long(turn))


def _texts(rows: Iterable[_Row]) -> Iterator[tuple[int, str]]:
    for row in rows:
        if type(row[1]) is int and row[1] >= 0 and type(row[8]) is str:
            yield row[0], row[8]
        elif (entry := _to_entry(row)).kind == "message":
            yield row[0], text_of(entry)
