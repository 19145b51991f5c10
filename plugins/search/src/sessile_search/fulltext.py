"""Full-text tables of SQLite (FTS5). What a word is, `sessile.store.words` says: FTS5 only has to part at the spaces."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from sessile.errors import CorruptStore
from sessile.store import Entry, SearchQuery, from_entry, words

_ERASES = sqlite3.sqlite_version_info >= (3, 42)  # what is deleted from a table is gone from the file, too
_DELETES = sqlite3.sqlite_version_info >= (3, 43)  # rows can be deleted whose text the table does not keep


def make_table(db: sqlite3.Connection, table: str, *, deletes: bool) -> None:
    """Make a table with the column `words`, which keeps no texts. deletes: rows will be deleted by their numbers.

    Before SQLite 3.43 that needs the texts, which are kept then.
    """
    if not deletes:
        content = ", content=''"
    elif _DELETES:
        content = ", content='', contentless_delete=1"
    else:
        content = ""
    db.execute(f"CREATE VIRTUAL TABLE {table} USING fts5 (words{content}, tokenize='ascii')")
    if _ERASES:
        db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('secure-delete', 1)")


def write_anew(db: sqlite3.Connection, table: str) -> None:
    """Write a table anew, without the words of texts that were deleted: takes as long as it is large."""
    db.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")


def find_rows(
    db: sqlite3.Connection, table: str, query: SearchQuery, where: Mapping[str, Sequence[Any]], limit: int, offset: int
) -> list[int]:
    """The numbers of the rows that have all terms of a query, best first. where: more conditions, in SQL, and their values."""
    conditions = " AND ".join([f"{table} MATCH ?", *where])
    values = [_expression(query), *(value for values in where.values() for value in values)]
    # the number, too, so that pages do not overlap
    sql = f"SELECT rowid FROM {table} WHERE {conditions} ORDER BY rank, rowid LIMIT ? OFFSET ?"
    return [row for (row,) in db.execute(sql, (*values, limit, offset))]


def _expression(query: SearchQuery) -> str:
    """What FTS5 is asked for the terms of a query. Words are quoted, as some are its operators."""
    return " ".join(f'"{" ".join(term.words)}"{"*" if term.prefix else ""}' for term in query.terms)


def places_of(db: sqlite3.Connection, logs: str, rows: Sequence[int], shift: int) -> list[tuple[str, int]]:
    """The id of the log, and what is below its key, of rows whose numbers begin with a log's key.

    logs: the table of logs. shift: bits behind the key.
    """
    sql = f"SELECT log FROM {logs} WHERE key = ?"
    names = {key: db.execute(sql, (key,)).fetchone() for key in {row >> shift for row in rows}}
    return [(*name, row & (1 << shift) - 1) for row in rows if (name := names[row >> shift])]


def words_of(text: str) -> str:
    """The words of a text as they are indexed: FTS5 takes the same ones as `words` out of ASCII."""
    return text if text.isascii() else " ".join(words(text))


def text_of(entry: Entry) -> str:
    """What a message says; "" for what is none: a broken entry must not keep the others from being found."""
    content = entry.body.get("content")
    if type(content) is str:
        return content
    try:
        return from_entry(entry).text
    except CorruptStore:
        return ""
