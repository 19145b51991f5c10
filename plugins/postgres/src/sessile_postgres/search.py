"""Full-text search: the words of each message as a tsvector with a GIN index, brought up to date when somebody searches.

For `table_name="sessions"` these are `sessions_words`, a row a message, and `sessions_indexed`, how far each log is indexed.
What a word is, `sessile.store.words` says. Phrases are looked for as their words: whoever asked compares the texts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from psycopg.errors import InsufficientPrivilege, ReadOnlySqlTransaction

from sessile.errors import CorruptStore, StoreError
from sessile.store import UNSEEN, Entry, SearchQuery, from_entry, owner_of, words
from sessile_postgres.rows import SELECT, to_entry

_PIECE = 1000  # entries that are indexed at a time
_LONGEST = 500  # characters of a word, of which PostgreSQL takes 2,046 bytes
_POSITION, _PLACES = 16_383, 255  # the last place that it knows in a text, and how many of a word
_LARGEST = 1_000_000  # characters of a text's words: one with more is looked at by every search
_TERMS = 64  # that are looked for: what has these is compared with all

_Ask = Callable[[str, Sequence[Any]], Awaitable[list[Any]]]


class Index:
    """The index of a store's messages. Includes those that were taken back.

    repeatable, once: send a statement that may be sent twice, or one that may not, and give its rows.
    """

    def __init__(self, table: str, repeatable: _Ask, once: _Ask) -> None:
        self._headers, self._entries = f'"{table}"', f'"{table}_entries"'
        self._words, self._indexed = f'"{table}_words"', f'"{table}_indexed"'
        self._repeatable, self._once = repeatable, once
        inherited = "substr(a ->> 0, strpos(a ->> 0, '.') + 1), split_part(a ->> 0, '.', 1)"
        seen = "session_id NOT LIKE '~%%' AND status <> ALL (%s) AND (%s::text IS NULL OR user_id = %s)"
        self._reads = (  # which logs a user's sessions (None: all) read, and how far: forks may inherit from another user's
            f"SELECT session_id, split_part(log, '.', 1) AS log, head AS stop FROM {self._headers} WHERE {seen} UNION ALL "
            f"SELECT {inherited}, {_STOP} FROM {self._headers}, jsonb_array_elements({_ANCESTORS}) a "
            f"WHERE parent IS NOT NULL AND {seen}"
        )

    async def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        """(log, position) of the messages that may be what is asked for, best first; None where the index may not be written."""
        if not offset and not await self._caught_up(query.user_id):
            return None
        where, values = [f"(words @@ {_ASKED} OR words IS NULL)"], [_tsquery(query)]
        if query.user_id is not None:
            where.append(f"(session_id, log) IN (SELECT session_id, log FROM ({self._reads}) reads)")
            values += _whose(query.user_id)
        if query.after is not None:
            where.append("time >= %s")
            values.append(query.after)
        if query.logs is not None:
            where.append("(session_id, log) IN (SELECT * FROM unnest(%s::text[], %s::text[]))")
            values += [[owner_of(log) for log in query.logs], [log.partition(".")[0] for log in query.logs]]
        sql = (
            f"SELECT log || '.' || session_id, position FROM {self._words} WHERE {' AND '.join(where)} "
            f"ORDER BY ts_rank(words, {_ASKED}, 1) DESC NULLS LAST, session_id, log, position LIMIT %s OFFSET %s"
        )
        return [(log, position) for log, position in await self._repeatable(sql, [*values, values[0], limit, offset])]

    async def forget(self, place: Sequence[str], keep: int) -> None:
        """Take out the words of a log's entries from a position on, once these are gone."""
        sql = (
            f"WITH gone AS (DELETE FROM {self._words} WHERE session_id = %s AND log = %s AND position >= %s) "
            f"UPDATE {self._indexed} SET stop = least(stop, %s) WHERE session_id = %s AND log = %s RETURNING 1"
        )
        await self._repeatable(sql, [*place, keep, keep, *place])
        if not keep:
            sql = f"DELETE FROM {self._indexed} WHERE session_id = %s AND log = %s AND stop = 0 RETURNING 1"
            await self._repeatable(sql, place)

    async def _caught_up(self, user_id: str | None) -> bool:
        try:
            await self._catch_up(user_id)
        except StoreError as error:
            cause: BaseException | None = error
            while cause is not None and not isinstance(cause, (ReadOnlySqlTransaction, InsufficientPrivilege)):
                cause = cause.__cause__
            if cause is None:
                raise
            return False
        return True

    async def _catch_up(self, user_id: str | None) -> None:
        """Index what was committed since the last search, and what forks inherit of logs whose sessions are gone."""
        sql = (
            f"SELECT session_id, log, coalesce(max(i.stop), 0), max(reads.stop) FROM ({self._reads}) reads "
            f"LEFT JOIN {self._indexed} i USING (session_id, log) "
            "WHERE session_id IS NOT NULL GROUP BY session_id, log HAVING coalesce(max(i.stop), 0) < max(reads.stop)"
        )
        for session_id, log, start, stop in await self._repeatable(sql, _whose(user_id)):
            while start < stop and await self._index_piece([session_id, log], start, min(start + _PIECE, stop)):
                start += _PIECE

    async def _index_piece(self, place: Sequence[str], start: int, stop: int) -> bool:
        """Index a range of a log. Two may do so at once; of an entry that goes meanwhile nothing is kept. Was there any?"""
        select = (
            f"SELECT {SELECT} FROM {self._entries} WHERE session_id = %s AND log = %s AND position >= %s "
            "AND position < %s AND kind = 'message'"
        )
        found = [*_readable(await self._repeatable(select, [*place, start, stop]))]
        sql = f"""
            WITH there AS (
                SELECT position FROM {self._entries}
                WHERE session_id = %s AND log = %s AND position >= %s AND position < %s FOR KEY SHARE
            ), added AS (
                INSERT INTO {self._words} SELECT %s, %s, position, time, words::tsvector
                FROM unnest(%s::bigint[], %s::float8[], %s::text[]) AS w (position, time, words) JOIN there USING (position)
                ON CONFLICT DO NOTHING
            )
            INSERT INTO {self._indexed} AS i SELECT %s, %s, %s WHERE EXISTS (SELECT FROM there)
            ON CONFLICT (session_id, log) DO UPDATE SET stop = greatest(i.stop, excluded.stop) RETURNING 1
        """
        columns = [e.position for e in found], [e.time for e in found], [_tsvector(e) for e in found]
        return bool(await self._once(sql, [*place, start, stop, *place, *columns, *place, stop]))


_ASKED = "%s::tsquery"
_STOP = "CASE WHEN a ->> 1 ~ '^[0-9]{1,18}$' THEN (a ->> 1)::bigint ELSE 0 END"
_TEXT = r"""'^\[\["[^"\\]*",[0-9]{1,18}\](,\["[^"\\]*",[0-9]{1,18}\])*\]$'"""  # which is JSON, whatever somebody made of it
_ANCESTORS = (
    "CASE WHEN jsonb_typeof(details -> 'ancestors') = 'array' THEN details -> 'ancestors' "
    f"WHEN details ->> 'ancestors~' ~ {_TEXT} THEN (details ->> 'ancestors~')::jsonb ELSE '[]' END"
)


def _whose(user_id: str | None) -> list[Any]:
    """The values for `Index._reads`."""
    return [[*UNSEEN], user_id, user_id] * 2


def _readable(rows: Iterable[Sequence[Any]]) -> Iterable[Entry]:
    """The entries that can be read: a broken one must not keep the others from being found."""
    for row in rows:
        try:
            yield to_entry(row)
        except CorruptStore:
            continue


def _tsvector(entry: Entry) -> str | None:
    """The words of a message, with their places; None where there are more than PostgreSQL takes."""
    places: dict[str, list[int]] = {}
    try:
        said = words(from_entry(entry).text)
    except CorruptStore:
        return ""
    for place, word in enumerate(said, 1):
        places.setdefault(word[:_LONGEST], []).append(min(place, _POSITION))
    vector = " ".join(f"'{word}':{','.join(map(str, found[:_PLACES]))}" for word, found in places.items())
    return vector if len(vector.encode()) < _LARGEST else None


def _tsquery(query: SearchQuery) -> str:
    asked = dict.fromkeys(
        f"'{word[:_LONGEST]}'{':*' if (term.prefix and word is term.words[-1]) or len(word) > _LONGEST else ''}"
        for term in query.terms
        for word in term.words
    )
    return " & ".join([*asked][:_TERMS])
