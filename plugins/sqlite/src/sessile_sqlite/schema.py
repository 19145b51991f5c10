"""The tables, and how older ones become newer ones: a list of migrations, each done once, in order, in place.

For `table_name="sessions"` these are: `sessions`, a small row a session with what changes at every commit;
`sessions_details`, the rest of each header as JSON; `sessions_logs`, the id of each log, under the key of its session, which
it outlives where forks inherit from it; `sessions_entries` (see `entries.py`); `sessions_messages`, a view of these for people.
The first search adds tables (see `search.py`). `sessile_schema` says how far each table name has come.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from sessile.errors import CorruptStore, StoreError
from sessile.store import refuse_newer
from sessile_sqlite.entries import COLUMNS, KEY_SHIFT, PIECE_BITS, ROLES

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
    db.execute(f"CREATE TABLE [{table}_entries] (place INTEGER PRIMARY KEY, {COLUMNS.partition(', ')[2]})")
    db.execute(_view(table))


def _view(table: str) -> str:
    """SQL for what a person sees in a shell: each message that was said, in order, also those that were taken back."""
    pieces = (
        f"SELECT body FROM [{table}_entries] p WHERE p.place >= e.place AND p.place < e.place + {2**PIECE_BITS} ORDER BY place"
    )
    roles = " ".join(f"WHEN {number} THEN '{role}'" for number, role in enumerate(ROLES))
    return f"""
        CREATE VIEW [{table}_messages] AS
        SELECT
            substr(log, instr(log, '.') + 1) AS session_id,
            log,
            position,
            datetime(time, 'unixepoch') AS time,
            CASE kind {roles} ELSE json_extract(text, '$.role') END AS role,
            iif(typeof(kind) = 'integer', text, json_extract(text, '$.content')) AS content
        FROM (
            SELECT l.log, (e.place >> {PIECE_BITS}) - (l.key << {KEY_SHIFT - PIECE_BITS}) AS position, e.time, e.kind,
                (SELECT group_concat(body, '') FROM ({pieces})) AS text
            FROM [{table}_logs] l JOIN [{table}_entries] e
                ON e.place >= l.key << {KEY_SHIFT} AND e.place < (l.key + 1) << {KEY_SHIFT}
            WHERE e.kind < {len(ROLES)} OR e.kind = 'message'
            ORDER BY e.place
        )
    """


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
            "hour": int,
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
    # Lists are in the order of `updated_at`. An index of that would change with every commit; this one does with the first of
    # an hour, and sorting a user's sessions of an hour takes little.
    db[table].create_index(["user_id", "hour"])
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
        connection.execute(f"CREATE TABLE IF NOT EXISTS {VERSIONS} (name TEXT PRIMARY KEY, version INTEGER) WITHOUT ROWID")
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
