"""The methods of the store on psycopg, blocking or async; see `schema.py` and `rows.py` for what lies where."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from psycopg.errors import UndefinedTable

from sessile.errors import CorruptStore
from sessile.store import (
    COLUMNS,
    JSON,
    Entry,
    Guard,
    Header,
    Page,
    Query,
    conflict,
    from_json,
    maybe,
    missing,
    page_of_rows,
    refuse_newer,
    whole,
)
from sessile_postgres import schema
from sessile_postgres.connecting import Lost, check_version, connection_kind, conninfo, explained
from sessile_postgres.listening import Listener, notice
from sessile_postgres.pool import Pool
from sessile_postgres.rows import ENTRY, SELECT, columns_of, conditions, details_of, place_of, to_entries, to_header
from sessile_postgres.search import Index

if TYPE_CHECKING:
    from sessile_postgres.store import PostgresSessionStore

_INSERTED = ", ".join(f"e.{name}::jsonb" if name == "body" else f"e.{name}" for name in ENTRY)
_FIELDS = ", ".join([*COLUMNS.values(), "details::text"])


class PostgresEngine:
    """See the module's text."""

    def __init__(self, store: PostgresSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.table = store.table
        self.headers, self.entries = f'"{store.table}"', f'"{store.table}_entries"'
        self.channel = f"sessile_{store.table}"
        self._conninfo = conninfo(store.url, store.timeout)
        self._kind = connection_kind(asynchronous, store.timeout)
        self.pool = Pool(self._connect, asynchronous=asynchronous, size=store.pool_size, timeout=store.timeout)
        self.listener = Listener(self._connect, self.channel, store.timeout) if asynchronous else None
        self.index = Index(self.table, self._read, self._write)
        self._ready = False  # the tables are there, as far as is known
        self._preparing = Guard(asynchronous)
        self._statements: dict[tuple[bool, tuple[str, ...]], str] = {}  # of commits, by the fields that they set

    # -- the seven methods

    async def load(self, session_id: str) -> Header | None:
        rows = await self._read(f"SELECT {_FIELDS} FROM {self.headers} WHERE session_id = %s", [session_id])
        return to_header(rows[0]) if rows else None

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        sql = (
            f"SELECT {_FIELDS}, (SELECT json_agg(json_build_array({SELECT}) ORDER BY position) FROM {self.entries} e "
            "WHERE e.session_id = h.session_id AND e.log = split_part(h.log, '.', 1) AND position >= h.head - %s)::text "
            f"FROM {self.headers} h WHERE session_id = %s"
        )
        rows = await self._read(sql, [count, session_id])
        if not rows:
            return None, []
        *header, last = rows[0]
        return to_header(header), to_entries(from_json(last)) if last else []

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        kind = (bool(expected), tuple(changes))
        sql = self._statements.get(kind)
        if sql is None:
            sql = self._statements[kind] = self._statement(kind[1], new=not expected)
        values = [value for name, value in changes.items() if name in COLUMNS]
        if not expected or len(values) < len(changes):
            values.append(details_of(changes, new=not expected))
        if expected:
            values += [session_id, expected]
        if not await self._write(sql, [*values, *columns_of(entries)]):
            raise conflict(session_id, expected, await self.load(session_id))

    async def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        sql = (
            f"SELECT {SELECT} FROM {self.entries} WHERE session_id = %s AND log = %s AND position >= %s AND position < %s"
            f"{' AND (kind = %s OR position = %s)' if kind else ''} ORDER BY position"
        )
        rows = await self._read(sql, [*place_of(log), start, stop, *([kind, stop - 1] if kind else [])])
        entries = to_entries(rows)
        if not kind:
            return whole(entries, log, start, stop)
        if start < stop and (not entries or entries[-1].position != stop - 1):
            raise missing(log, start, stop)
        return [entry for entry in entries if entry.kind == kind]

    async def find(self, query: Query) -> Page[Header]:
        where, values = conditions(query)
        sql = f"SELECT {_FIELDS} FROM {self.headers} WHERE {where} ORDER BY updated_at DESC, session_id DESC LIMIT %s"
        rows = await self._read(sql, [*values, query.limit + 1])
        return page_of_rows(rows, query.limit, to_header)

    async def delete(self, session_id: str, *, expected: int | None) -> None:
        version = await self._unreadable(session_id) if expected is None else expected
        sql = f"DELETE FROM {self.headers} WHERE session_id = %s AND version = %s RETURNING {notice(self.channel, '0')}"
        if version is None or not await self._read(sql, [session_id, version], tries=1):
            raise conflict(session_id, expected, await self.load(session_id))

    async def prune(self, log: str, keep: int) -> None:
        sql = f"DELETE FROM {self.entries} WHERE session_id = %s AND log = %s AND position >= %s"
        await self._read(sql, [*place_of(log), keep])
        await self.index.forget(place_of(log), keep)

    async def close(self) -> None:
        if self.listener:
            await self.listener.close()
        self.pool.close()

    # -- more

    async def logs(self) -> list[str]:
        rows = await self._read(f"SELECT log || '.' || session_id FROM {self.entries} WHERE position = 0", [])
        return [log for (log,) in rows]

    async def touch(self, log: str, until: float | None) -> None:
        """Nothing expires here."""

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        assert self.listener, "only the async engine listens"
        with explained(self.url):
            await self.listener.wait(session_id, version, timeout, lambda: self._version_of(session_id))

    async def _version_of(self, session_id: str) -> int:
        rows = await self._read(f"SELECT version FROM {self.headers} WHERE session_id = %s", [session_id])
        return int(rows[0][0]) if rows else 0

    async def _unreadable(self, session_id: str) -> int | None:
        """The version of a header that cannot be read; None where it can, or there is none."""
        version = await self._version_of(session_id)
        try:
            await self.load(session_id)
        except CorruptStore:
            return version
        return None

    async def check(self, repair: bool) -> dict[str, JSON]:
        """What `sessile doctor` shows: the round trip, the server's version and durability, the schema."""
        with explained(self.url):
            found = await self._look()
            begin = time.perf_counter()
            await self._once("SELECT 1")
            latency = time.perf_counter() - begin
            ((server, durable),) = await self._once(
                "SELECT current_setting('server_version'), current_setting('synchronous_commit')"
            )
        return {
            "latency_ms": round(latency * 1000, 3),
            "server": f"PostgreSQL {server}",
            "durability": f"synchronous_commit {durable}",
            "schema": f"version {found.version or 0} of {schema.NEWEST}",
        }

    # -- the tables

    async def migrate(self) -> tuple[int, int]:
        """Make the tables that are missing. Many processes may do so at once: one does it."""
        with explained(self.url):
            found = await self._look()
            if not found.complete:
                await self._once(schema.creation(self.table))
                await self._look()  # somebody else may have been first
        self._ready = True
        return found.version or 0, schema.NEWEST

    async def _look(self) -> schema.Found:
        """Which tables there are. `CorruptStore` where they are somebody else's."""
        ((headers, entries, search, versions),) = await self._again(schema.tables(self.table))
        rows = await self._again(schema.version(self.table)) if versions else []
        version = rows[0][0] if rows else None
        if version is None and (headers or entries):
            name = self.table if headers else f"{self.table}_entries"
            raise CorruptStore(f"there is a table {name!r} that is not sessile's: pass another table_name")
        refuse_newer(f"table {self.table!r}", version or 0, schema.NEWEST, "sessile-postgres")
        return schema.Found(headers, entries, search, version)

    async def _prepare(self) -> None:
        async with self._preparing:
            if not self._ready:
                await self.migrate()

    async def _exists(self) -> bool:
        """Are the tables there? Reading does not make them."""
        async with self._preparing:
            self._ready = self._ready or (await self._look()).complete
        return self._ready

    # -- statements

    def _statement(self, names: Sequence[str], *, new: bool) -> str:
        """One statement that is a commit: the header's row, the entries if that was changed, and the notice."""
        columns = [COLUMNS[name] for name in names if name in COLUMNS]
        more = new or len(columns) < len(names)
        if new:
            places = ", ".join(["%s"] * len(columns))
            header = (
                f"INSERT INTO {self.headers} ({', '.join(columns)}, details) VALUES ({places}, %s::jsonb) ON CONFLICT DO NOTHING"
            )
        else:
            sets = [f"{column} = %s" for column in columns] + ["details = details || %s::jsonb"] * more
            header = f"UPDATE {self.headers} SET {', '.join(sets)} WHERE session_id = %s AND version = %s"
        return (
            f"WITH header AS ({header} RETURNING session_id, log, version), entries AS (INSERT INTO {self.entries} "
            f"SELECT header.session_id, split_part(header.log, '.', 1), {_INSERTED} FROM header, "
            f"unnest({', '.join(f'%s::{kind}[]' for kind in ENTRY.values())}) AS e ({', '.join(ENTRY)})) "
            f"SELECT {notice(self.channel, 'version')} FROM header"
        )

    async def _write(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """The rows of a statement that changes something. Tables that are missing are made."""
        with explained(self.url):
            if not self._ready:
                await self._prepare()
            try:
                return await self._once(sql, values)
            except UndefinedTable:  # somebody dropped them
                self._ready = False
            await self._prepare()
            return await self._once(sql, values)

    async def _read(self, sql: str, values: Sequence[Any], *, tries: int = 2) -> list[Any]:
        """The rows of a statement that may be sent twice; none where there are no tables."""
        with explained(self.url):
            if not self._ready and not await self._exists():
                return []
            try:
                return await self._again(sql, values) if tries > 1 else await self._once(sql, values)
            except UndefinedTable:
                self._ready = False
                return []

    async def _again(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """As `_once`, and once more where the connection was lost."""
        try:
            return await self._once(sql, values)
        except Lost:
            return await self._once(sql, values)

    async def _once(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """One statement, its own transaction, and its rows."""
        async with self.pool.connection() as connection:
            cursor = await maybe(connection.execute(sql, values or None))
            return list(await maybe(cursor.fetchall())) if cursor.pgresult.nfields else []

    async def _connect(self) -> Any:
        connection = await maybe(self._kind.connect(self._conninfo, autocommit=True))
        try:
            check_version(connection.info.server_version, self.url)
        except BaseException:
            connection.pgconn.finish()
            raise
        return connection
