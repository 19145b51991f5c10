"""The tables, and how older ones become newer ones: a list of migrations, each done once, in order, in place.

For `table_name="sessions"` these are `sessions`, a row a session, and `sessions_entries`, the logs. Every key begins with
the session id, so that both can be partitioned by its hash, or distributed by it (Citus). `sessile_schema` says how
far each table name has come. An advisory lock makes processes that start at the same instant wait for one another.
"""

from __future__ import annotations

VERSIONS = "sessile_schema"

MIGRATIONS = (
    """
    CREATE TABLE {table} (
        session_id text COLLATE "C" PRIMARY KEY,
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
    CREATE INDEX ON {table} (user_id, updated_at DESC, session_id DESC);
    CREATE INDEX ON {table} (parent) WHERE parent IS NOT NULL;
    CREATE INDEX ON {table} (root) WHERE root <> '';
    CREATE TABLE {table}_entries (
        session_id text COLLATE "C" NOT NULL,
        position bigint NOT NULL,
        kind text NOT NULL,
        body jsonb NOT NULL,
        PRIMARY KEY (session_id, position)
    );
    """,
)


def steps(table: str, done: int) -> list[str]:
    """The statements that bring a table from one version to the newest, to be run in one transaction."""
    statements = [migration.format(table=table) for migration in MIGRATIONS[done:]]
    record = (
        f"CREATE TABLE IF NOT EXISTS {VERSIONS} (name text PRIMARY KEY, version int NOT NULL);"
        f"INSERT INTO {VERSIONS} VALUES ('{table}', {len(MIGRATIONS)}) "
        "ON CONFLICT (name) DO UPDATE SET version = EXCLUDED.version"
    )
    return [*statements, record]


def state(table: str) -> str:
    """A query for one row: does the table exist, and the versions table; `version` asks for the rest."""
    # not to_regclass, which may answer from a cache that knows nothing yet of what was made while this waited for the lock
    there = "EXISTS (SELECT FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) AND tablename = '{}')"
    return f"SELECT {there.format(table)}, {there.format(VERSIONS)}"


def version(table: str) -> str:
    """A query for the version of a table, where there is a versions table."""
    return f"SELECT version FROM {VERSIONS} WHERE name = '{table}'"


def lock(table: str) -> str:
    """Wait for others who migrate; let go at the end of the transaction."""
    return f"SELECT pg_advisory_xact_lock(hashtext('sessile {table}'))"
