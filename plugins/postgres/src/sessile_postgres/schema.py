"""The tables. For `table_name="sessions"` these are `sessions`, a row a session, and `sessions_entries`, the logs
(and what `search.py` makes of them).

Every key begins with a session id, a log's with that of the session it was made for, so that both tables can be partitioned
by its hash, or distributed by it (Citus). `sessile_schema` says which version of these tables a table name has.
"""

from __future__ import annotations

from typing import NamedTuple

NEWEST = 1
VERSIONS = "sessile_schema"

_HEADERS = """
CREATE TABLE "{table}" (
    session_id text COLLATE "C" PRIMARY KEY,
    log text NOT NULL,
    user_id text NOT NULL,
    parent text,
    root text NOT NULL DEFAULT '',
    status text NOT NULL,
    created_at float8 NOT NULL,
    updated_at float8 NOT NULL,
    version bigint NOT NULL,
    head bigint NOT NULL,
    count bigint NOT NULL,
    base bigint NOT NULL,
    hash text NOT NULL,
    commit_id text NOT NULL,
    details jsonb NOT NULL
);
CREATE INDEX ON "{table}" (user_id, updated_at DESC, session_id DESC);
CREATE INDEX ON "{table}" (parent) WHERE parent IS NOT NULL;
CREATE INDEX ON "{table}" (root) WHERE root <> '';
"""

_ENTRIES = """
CREATE TABLE "{table}_entries" (
    session_id text COLLATE "C" NOT NULL,
    log text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    kind text NOT NULL,
    role text,
    content text,
    id text,
    time float8,
    turn text,
    count bigint,
    base bigint,
    prev text,
    body jsonb,
    PRIMARY KEY (session_id, log, position)
);
"""

_WORDS = """
CREATE TABLE "{table}_words" (
    session_id text COLLATE "C" NOT NULL,
    log text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    time float8 NOT NULL,
    words tsvector,
    PRIMARY KEY (session_id, log, position)
);
CREATE INDEX ON "{table}_words" USING gin (words);
CREATE INDEX ON "{table}_words" (session_id) WHERE words IS NULL;
DELETE FROM "{table}_indexed";
"""

_INDEXED = """
CREATE TABLE "{table}_indexed" (
    session_id text COLLATE "C" NOT NULL,
    log text COLLATE "C" NOT NULL,
    stop bigint NOT NULL,
    PRIMARY KEY (session_id, log)
);
"""

_MADE = {"": _HEADERS, "_entries": _ENTRIES, "_indexed": _INDEXED, "_words": _WORDS}  # what is behind a table's name

# Not to_regclass, which may answer from a cache that knows nothing yet of what was made while this waited for the lock.
_THERE = (
    "EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = ANY (current_schemas(false)) AND relname = '{}')"
)


class Found(NamedTuple):
    """What there is of a table name: its tables, and the version that is recorded (None for none)."""

    headers: bool
    entries: bool
    search: bool
    version: int | None

    @property
    def complete(self) -> bool:
        return self.headers and self.entries and self.search and self.version == NEWEST


def tables(table: str) -> str:
    """A query for one row: do the tables of headers, entries, searches and versions exist; `version` asks for the rest."""
    there = [_THERE.format(name) for name in (table, f"{table}_entries", f"{table}_indexed", f"{table}_words", VERSIONS)]
    return f"SELECT {there[0]}, {there[1]}, {there[2]} AND {there[3]}, {there[4]}"


def version(table: str) -> str:
    """A query for the version of a table, where there is a versions table."""
    return f"SELECT version FROM {VERSIONS} WHERE name = '{table}'"


def creation(table: str) -> str:
    """One statement that makes the tables that are missing. Processes that start at one instant wait for one another."""
    making = " ".join(
        f"IF NOT {_THERE.format(table + name)} THEN {made.format(table=table)} END IF;" for name, made in _MADE.items()
    )
    return f"""
    DO $$ BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('sessile schema'));
    {making}
    CREATE TABLE IF NOT EXISTS {VERSIONS} (name text PRIMARY KEY, version int NOT NULL);
    INSERT INTO {VERSIONS} VALUES ('{table}', {NEWEST}) ON CONFLICT (name) DO NOTHING;
    END $$
    """
