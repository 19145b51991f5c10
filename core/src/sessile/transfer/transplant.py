"""Writes sessions from a file or another store into a store: same entries and hashes, new log ids.

Where the target has no session of an inherited log, the log is written under a hidden session, which is deleted in the end:
the log stays as long as somebody inherits from it, as that of any deleted session. A session is there whole, or not at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import clear_leftover
from sessile.errors import Conflict, SessionNotFound
from sessile.graph.forks import begin_pending, bring_to_life, swept_away
from sessile.log.encoding import JSON
from sessile.log.entries import Entry
from sessile.log.header import PENDING, Ancestor, Header
from sessile.log.ids import RESERVED, new_id, new_log_id
from sessile.log.stamping import clock, new_commit_id, next_version

BATCH = 256  # entries written in one commit
_OWNER = f"{RESERVED}copy:"  # how the ids of hidden owners begin

# What a header says of the log and of what counts in it: the same wherever the log is.
OF_THE_LOG = ("head", "count", "base", "hash", "lineage", "older", "last_snapshot", "mark", "automatic", "state")
_OF_THE_SESSION = ("created_at", "updated_at", "title", "metadata", "app")

Pages = AsyncIterator[list[Entry]]


class Transplant:
    """Writes sessions into one store, for `async with`: in the end its hidden owners go."""

    def __init__(self, commits: Commits) -> None:
        self.commits = commits
        self._owners: dict[str, Header] = {}

    async def __aenter__(self) -> Transplant:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # else it is cut short, and swept up some day
            for owner in self._owners.values():
                await clear_leftover(self.commits, owner)

    async def write_log(self, pages: Pages, user_id: str) -> str:
        """Write a log for a hidden owner, and return its id."""
        name = _OWNER + new_id()
        first = Header(session_id=name, log=new_log_id(name), user_id=user_id)
        owner = await self._append(await self._begin(first), pages)
        self._owners[owner.log] = owner
        return owner.log

    async def write_more(self, log: str, pages: Pages) -> None:
        """Add to a log that a hidden owner has."""
        self._owners[log] = await self._append(self._owners[log], pages)

    async def write_session(
        self, header: Header, pages: Pages, ancestors: Sequence[Ancestor], *, session_id: str, user_id: str
    ) -> Header:
        """Write a session with the content of `header`.

        `SessionExists` where the id is taken, or what was written is swept away meanwhile; nothing is left then.
        pages: the entries of its own log. ancestors: the logs here that it inherits from.
        """
        first = Header(
            session_id=session_id,
            log=new_log_id(session_id),
            user_id=user_id,
            ancestors=tuple(ancestors),
            created_at=header.created_at,
        )
        pending = await self._begin(first)
        try:
            pending = await self._append(pending, pages)
        except Exception:
            with suppress(Exception):  # the error that led here says more
                found = await self.commits.load(session_id)
                if found is not None and found.log == pending.log:
                    await clear_leftover(self.commits, found)
            raise
        content = header.to_dict()
        fields = {name: content[name] for name in (*OF_THE_LOG, *_OF_THE_SESSION)}
        if ancestors:
            fields.update(parent=ancestors[-1].log, root=ancestors[0].log)
        alive = [row.log for row in ancestors if row.stop]
        try:
            return await bring_to_life(self.commits, pending, alive=alive, status=header.status, **fields)
        except SessionNotFound as error:
            raise swept_away(f"a log that session {session_id!r} inherits") from error

    async def _begin(self, first: Header) -> Header:
        fields: dict[str, JSON] = {**first.to_dict(), **next_version(first, clock(), new_id()), "status": PENDING}
        return await begin_pending(self.commits, first, [], fields)

    async def _append(self, header: Header, pages: Pages) -> Header:
        async for entries in pages:
            commit = new_commit_id(entries)
            fields = {**next_version(header, clock(), commit), "head": entries[-1].position + 1, "hash": entries[-1].hash}
            try:
                header = await self.commits.put(header, entries, fields)
            except Conflict as lost:
                raise swept_away(_named(header)) from lost
        return header


def _named(header: Header) -> str:
    hidden = header.session_id.startswith(_OWNER)
    return "a log that is inherited" if hidden else f"session {header.session_id!r}"
