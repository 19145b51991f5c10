"""The tables, and how older ones become newer ones: a list of migrations, each done once, in order, in place.

For `table_name="sessions"` these are: `sessions`, a small row a session with what changes at every commit;
`sessions_details`, the rest of each header as JSON; `sessions_logs`, the id of each log, under the key of its session, which
it outlives where forks inherit from it; `sessions_entries`; `sessions_texts` with its full-text index, filled when somebody
searches. `sessile_schema` says how far each table name has come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sessile.errors import CorruptStore, StoreError
from sessile.store import refuse_newer

VERSIONS = "sessile_schema"


def _first(db: Any, table: str) -> None:
    _sessions(db, table)
    logs = db[f"{table}_logs"]
    logs.create(
        {"key": int, "log": str, "user_id": str, "indexed": int},
        pk="key",
        not_null={"log", "user_id", "indexed"},
        defaults={"indexed": 0},
    )
    logs.create_index(["log"], unique=True)
    # sqlite-utils has no tables without row ids, which save each entry's second index
    db.execute(
        f"CREATE TABLE [{table}_entries] (log INTEGER, position INTEGER, kind TEXT, body TEXT, "
        "PRIMARY KEY (log, position)) WITHOUT ROWID"
    )
    texts = db[f"{table}_texts"]
    texts.create({"id": int, "log": int, "position": int, "text": str}, pk="id")
    texts.create_index(["log"])
    texts.enable_fts(["text"], create_triggers=True)
    if sqlite3.sqlite_version_info >= (3, 42):  # the words of what is deleted do not stay in it until it is written anew
        db.execute(f"INSERT INTO [{table}_texts_fts] ([{table}_texts_fts], rank) VALUES ('secure-delete', 1)")


def _sessions(db: Any, table: str) -> None:
    db[table].create(
        {
            "key": int,
            "session_id": str,
            "log": str,
            "user_id": str,
            "parent": str,
            "root": str,
            "status": str,
            "created_at": float,
            "updated_at": float,
            "version": int,
            "head": int,
            "count": int,
            "base": int,
            "hash": str,
            "commit_id": str,
        },
        pk="key",
        not_null={"session_id", "log", "user_id", "version", "head"},
    )
    db[table].create_index(["session_id"], unique=True)
    # The one index that changes with every commit. Another for lists of all users' sessions would make each append
    # 5 % slower for the sake of a scan of 3 ms among 10,000 sessions.
    db[table].create_index(["user_id", "updated_at", "session_id"])
    db[table].create_index(["parent"])
    db[table].create_index(["root"])
    db[f"{table}_details"].create({"key": int, "body": str}, pk="key")


MIGRATIONS: tuple[Callable[[Any, str], None], ...] = (_first,)


def prepare(connection: sqlite3.Connection, table: str) -> None:
    """Bring the tables to the newest schema. Many processes may do so at once: one does it, in one transaction."""
    done = _version(connection, table)
    refuse_newer(f"table {table!r}", done, len(MIGRATIONS), "sessile-sqlite")
    if done == len(MIGRATIONS):
        return
    from sqlite_utils import Database

    db = Database(connection)
    connection.execute("BEGIN IMMEDIATE")
    try:
        done = _version(connection, table)  # another process may have come first
        if not done and db[table].exists():
            raise CorruptStore(f"there is a table {table!r} that is not sessile's: pass another table_name")
        for migrate in MIGRATIONS[done:]:
            migrate(db, table)
        connection.execute(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (name TEXT PRIMARY KEY, version INTEGER)")
        connection.execute(f"INSERT OR REPLACE INTO {VERSIONS} VALUES (?, ?)", (table, len(MIGRATIONS)))
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def check_schema(connection: sqlite3.Connection, table: str) -> None:
    """See that the tables of a file that may only be read are of the newest schema."""
    done = _version(connection, table)
    if done != len(MIGRATIONS):
        raise StoreError(
            f"table {table!r} has schema {done}, this version knows {len(MIGRATIONS)}, and the file may only be read: "
            "let somebody migrate it who may write"
        )


def version(path: Path, table: str) -> int:
    """The schema version of the tables in a file; 0 without tables. Changes nothing."""
    with closing(sqlite3.connect(path)) as connection:
        return _version(connection, table)


def _version(connection: sqlite3.Connection, table: str) -> int:
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (VERSIONS,)).fetchone():
        return 0
    row = connection.execute(f"SELECT version FROM {VERSIONS} WHERE name = ?", (table,)).fetchone()
    return int(row[0]) if row else 0
