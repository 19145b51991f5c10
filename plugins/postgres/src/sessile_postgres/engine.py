"""The six methods on psycopg, blocking or async; see `rows.py` for what lies where."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sessile.encoding import JSON
from sessile.errors import Conflict, CorruptStore, StoreTooNew
from sessile.log import Entry, Header
from sessile.native import Guard, maybe
from sessile.store import Page, Query
from sessile_postgres import schema
from sessile_postgres.connecting import check_version, connection_kind, conninfo, explained, make_pool
from sessile_postgres.rows import COLUMNS, body_of, conditions, details_of, readable, to_entry, to_header

if TYPE_CHECKING:
    from sessile_postgres.store import PostgresSessionStore

_UPDATED_AT = list(COLUMNS).index("updated_at")


class PostgresEngine:
    """See the module's text."""

    def __init__(self, store: PostgresSessionStore, asynchronous: bool) -> None:
        self.url = store.url
        self.table = store.table
        self.channel = f"sessile_{store.table}"
        self.timeout = store.timeout
        self.asynchronous = asynchronous
        self._kind = connection_kind(asynchronous, store.timeout)
        self.pool = make_pool(store.url, self._kind, asynchronous=asynchronous, pool_size=store.pool_size, timeout=store.timeout)
        self._open = self._ready = False
        self._connecting, self._preparing = Guard(asynchronous), Guard(asynchronous)
        self._listeners: list[Any] = []
        columns = ", ".join(COLUMNS.values())
        self._select = f"SELECT {columns}, details::text FROM {self.table}"
        self._statements: dict[tuple[bool, tuple[str, ...]], str] = {}  # of commits, by the fields that they set

    # -- the six methods

    async def load(self, session_id: str) -> Header | None:
        rows = await self._read(f"{self._select} WHERE session_id = %s", [session_id])
        return to_header(rows[0]) if rows else None

    async def load_last(self, session_id: str, count: int) -> tuple[Header | None, list[Entry]]:
        sql = (
            f"SELECT {', '.join(COLUMNS.values())}, details::text, ARRAY(SELECT body::text FROM {self.table}_entries e "
            "WHERE e.session_id = h.session_id AND position >= h.head - %s ORDER BY position) "
            f"FROM {self.table} h WHERE session_id = %s"
        )
        rows = await self._read(sql, [count, session_id])
        return (to_header(rows[0][:-1]), [to_entry(body) for body in rows[0][-1]]) if rows else (None, [])

    async def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        if not self._ready:
            async with self._preparing:
                if not self._ready:
                    await self.migrate()
        kind = (bool(expected), tuple(changes))
        sql = self._statements.get(kind)
        if sql is None:
            sql = self._statements[kind] = self._statement(kind[1], new=not expected)
        values = [value for name, value in changes.items() if name in COLUMNS]
        if not expected or len(values) < len(changes):
            values.append(details_of(changes, new=not expected))
        if expected:
            values += [session_id, expected]
        columns = [e.position for e in entries], [e.kind for e in entries], [body_of(e) for e in entries]
        done = await self._execute(sql, [*values, *columns, self.channel])
        if not done:
            header = await self.load(session_id)
            raise Conflict(f"session {session_id!r} is not at version {expected} any more", header)

    async def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        sql = (
            f"SELECT body::text FROM {self.table}_entries WHERE session_id = %s AND position >= %s AND position < %s"
            f"{' AND kind = %s' if kind else ''} ORDER BY position"
        )
        rows = await self._read(sql, [session_id, start, stop, *([kind] if kind else [])])
        return [to_entry(body) for (body,) in rows]

    async def find(self, query: Query) -> Page[Header]:
        where, values = conditions(query)
        sql = f"{self._select} WHERE {where} ORDER BY updated_at DESC, session_id DESC LIMIT %s"
        rows = await self._read(sql, [*values, query.limit + 1])
        page = Page.of(rows, query.limit, lambda row: (row[_UPDATED_AT], row[0]))
        return Page([header for row in page.items if (header := readable(row))], page.cursor)

    async def delete(self, session_id: str) -> None:
        if not await self._exists():
            return
        await self._transaction(
            (f"DELETE FROM {self.table} WHERE session_id = %s", [session_id]),  # waits for who is committing to it
            (f"DELETE FROM {self.table}_entries WHERE session_id = %s", [session_id]),
            ("SELECT pg_notify(%s, %s)", [self.channel, session_id]),
        )

    async def close(self) -> None:
        for listener in self._listeners:
            await maybe(listener.close())
        if self._open:
            await maybe(self.pool.close())

    # -- more

    async def wait(self, session_id: str, version: int, timeout: float) -> None:
        """Return when the version may be another one, told by NOTIFY, or after `timeout` seconds."""
        give_up = time.monotonic() + timeout
        with explained(self.url):
            listener = self._listeners.pop() if self._listeners else await self._listener()
            try:
                rows = await self._read(f"SELECT version FROM {self.table} WHERE session_id = %s", [session_id])
                while (rows[0][0] if rows else 0) == version and (left := give_up - time.monotonic()) > 0:
                    if await self._notified(listener, left) == session_id:
                        break
            except BaseException:
                await maybe(listener.close())
                raise
            self._listeners.append(listener)

    async def _listener(self) -> Any:
        listener = await maybe(self._kind.connect(conninfo(self.url, self.timeout), autocommit=True))
        await maybe(listener.execute(f"LISTEN {self.channel}"))
        return listener

    async def _notified(self, listener: Any, timeout: float) -> str:
        """The id of the next session that was changed; "" after `timeout` seconds."""
        notices = listener.notifies(timeout=timeout, stop_after=1)
        if self.asynchronous:
            return "".join([notice.payload async for notice in notices])
        return "".join([notice.payload for notice in notices])

    async def check(self, repair: bool) -> dict[str, JSON]:
        """What `sessile doctor` shows: the round trip, the server's version and durability, the schema."""
        await self._execute("SELECT 1", [])
        begin = time.perf_counter()
        await self._execute("SELECT 1", [])
        latency = time.perf_counter() - begin
        ((server, durable),) = await self._execute(
            "SELECT current_setting('server_version'), current_setting('synchronous_commit')", []
        )
        return {
            "latency_ms": round(latency * 1000, 3),
            "server": f"PostgreSQL {server}",
            "durability": f"synchronous_commit {durable}",
            "schema": f"version {await self._version() or 0} of {len(schema.MIGRATIONS)}",
        }

    # -- the schema

    async def migrate(self) -> tuple[int, int]:
        """Bring the tables to the newest schema. Many processes may do so at once: one does it."""
        newest = len(schema.MIGRATIONS)
        done = await self._version()
        if done is None or done < newest:
            await self._transaction((schema.lock(self.table), None), migrating=True)
        self._ready = True
        return done or 0, newest

    async def _version(self) -> int | None:
        """How far the tables have come; None where there are none. `CorruptStore` where they are somebody else's."""
        ((table, versions),) = await self._execute(schema.state(self.table), [])
        rows = await self._execute(schema.version(self.table), []) if versions else []
        return self._known(bool(table), rows)

    def _known(self, table: bool, rows: Sequence[Any]) -> int | None:
        newest = len(schema.MIGRATIONS)
        if not rows:
            if table:
                raise CorruptStore(f"there is a table {self.table!r} that is not sessile's: pass another table_name")
            return None
        if rows[0][0] > newest:
            raise StoreTooNew(
                f"table {self.table!r} has schema {rows[0][0]}, and this version knows {newest}: upgrade sessile-postgres"
            )
        return int(rows[0][0])

    async def _exists(self) -> bool:
        """Are the tables there? Reading does not make them."""
        if not self._ready:
            async with self._preparing:
                self._ready = self._ready or await self._version() == len(schema.MIGRATIONS)
        return self._ready

    # -- statements

    def _statement(self, names: Sequence[str], *, new: bool) -> str:
        """One statement that is a commit: the header's row, the entries if that was changed, and the notification."""
        columns = [COLUMNS[name] for name in names if name in COLUMNS]
        more = new or len(columns) < len(names)
        if new:
            places = ", ".join(["%s"] * len(columns))
            header = (
                f"INSERT INTO {self.table} ({', '.join(columns)}, details) VALUES ({places}, %s::jsonb) ON CONFLICT DO NOTHING"
            )
        else:
            sets = [f"{column} = %s" for column in columns] + ["details = details || %s::jsonb"] * more
            header = f"UPDATE {self.table} SET {', '.join(sets)} WHERE session_id = %s AND version = %s"
        return (
            f"WITH header AS ({header} RETURNING session_id), entries AS (INSERT INTO {self.table}_entries "
            "SELECT header.session_id, e.position, e.kind, e.body::jsonb FROM header, "
            "unnest(%s::bigint[], %s::text[], %s::text[]) AS e (position, kind, body)) "
            "SELECT pg_notify(%s, session_id) FROM header"
        )

    async def _read(self, sql: str, values: Sequence[Any]) -> list[Any]:
        return await self._execute(sql, values) if self._ready or await self._exists() else []

    async def _execute(self, sql: str, values: Sequence[Any]) -> list[Any]:
        """One statement, its own transaction, and its rows."""
        with explained(self.url):
            if not self._open:
                async with self._connecting:
                    if not self._open:
                        await self._connect()
            if self.asynchronous:
                async with self.pool.connection() as connection:
                    return await (await connection.execute(sql, values)).fetchall()
            with self.pool.connection() as connection:
                return connection.execute(sql, values).fetchall()

    async def _transaction(self, *statements: tuple[str, Sequence[Any] | None], migrating: bool = False) -> None:
        """Several statements as one transaction. migrating: those that the schema still needs, too."""
        with explained(self.url):
            if self.asynchronous:
                async with self.pool.connection() as connection, connection.transaction():
                    await self._all(connection, statements, migrating)
            else:
                with self.pool.connection() as connection, connection.transaction():
                    await self._all(connection, statements, migrating)

    async def _all(self, connection: Any, statements: Sequence[tuple[str, Sequence[Any] | None]], migrating: bool) -> None:
        for sql, values in statements:
            await maybe(connection.execute(sql, values))
        if migrating:  # others may have done it while this waited for the lock
            table, versions = await maybe((await maybe(connection.execute(schema.state(self.table)))).fetchone())
            rows = await maybe((await maybe(connection.execute(schema.version(self.table)))).fetchall()) if versions else []
            for sql in schema.steps(self.table, self._known(table, rows) or 0):
                await maybe(connection.execute(sql))

    async def _connect(self) -> None:
        """Before the pool is opened, which says little of why it cannot connect: connect once."""
        connection = await maybe(self._kind.connect(conninfo(self.url, self.timeout)))
        try:
            check_version(connection.info.server_version, self.url)
        finally:
            await maybe(connection.close())
        await maybe(self.pool.open())
        self._open = True
