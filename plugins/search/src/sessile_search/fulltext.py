"""Full-text tables of SQLite (FTS5). What a word is, `sessile.store.words` says: FTS5 only has to part at the spaces."""

from __future__ import annotations

import sqlite3

from sessile.errors import CorruptStore
from sessile.store import Entry, SearchQuery, from_entry, words

ERASES = sqlite3.sqlite_version_info >= (3, 42)  # what is deleted from a table is gone from the file, too
_DELETES = sqlite3.sqlite_version_info >= (3, 43)  # rows can be deleted whose text the table does not keep


def make_table(db: sqlite3.Connection, table: str, *, deletes: bool) -> None:
    """Make a table with the column `words`, which keeps no texts. deletes: rows will be deleted by their numbers.

    Before SQLite 3.43 that needs the texts, which are kept then.
    """
    content = "" if deletes and not _DELETES else ", content='', contentless_delete=1" if deletes else ", content=''"
    db.execute(f"CREATE VIRTUAL TABLE {table} USING fts5 (words{content}, tokenize='ascii')")
    if ERASES:
        db.execute(f"INSERT INTO {table} ({table}, rank) VALUES ('secure-delete', 1)")


def write_anew(db: sqlite3.Connection, table: str) -> None:
    """Write a table anew, without the words of texts that were deleted: takes as long as it is large."""
    db.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")


def expression(query: SearchQuery) -> str:
    """What FTS5 is asked for the terms of a query. Words are quoted, as some are its operators."""
    return " ".join(f'"{" ".join(term.words)}"{"*" if term.prefix else ""}' for term in query.terms)


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
