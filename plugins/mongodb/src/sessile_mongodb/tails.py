"""Where entries are written: into the tail in a session's document, of which the older part becomes a bucket when it is full.

Whatever step is the last before a crash, a range is read whole or not at all. All that decides about a log is in one
document: whose tail it is, where that begins and how long it is. A commit is one update of it. The bucket that a commit
needs is written before, of entries that are committed already, so that it is true whether the update comes or not. Pruning
sets the new end in the document first: what is still in buckets behind that does not exist any more. A delete moves the
tail within the document. Buckets are only removed once no document names them, and a reader who is at it meanwhile finds
one missing, which it looks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import attrs
from pymongo.errors import DuplicateKeyError

from sessile.store import Entry, Recent, maybe
from sessile_mongodb.deadlines import FOREVER, Deadlines, alive, date, expired, extended, over
from sessile_mongodb.documents import HEADER, header_changes, new_header
from sessile_mongodb.logs import Logs

TAIL = 128  # entries that a tail may have
KEPT = 50  # entries that stay in it when the others become a bucket: "the last 50" are nearly always there
_BYTES = 256 * 1024
_SESSIONS = 10_000  # sessions whose tails are remembered


@attrs.frozen
class Tail:
    """What is remembered of a session: its log at a version, where the tail begins, its bytes, and the deadlines."""

    version: int
    log: str
    start: int
    size: int
    header_until: int
    until: int

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Tail:
        tail = document["tail"]
        return cls(document["version"], tail["log"], tail["start"], tail["size"], document["until"], tail["until"])


@attrs.frozen
class _Commit:
    """A commit to a session that is there. where: matches while it is at the version. sets, extends: fields of the document,
    extended by `$max`. after: the tail then, entries left aside."""

    session_id: str
    where: Mapping[str, Any]
    sets: Mapping[str, Any]
    extends: Mapping[str, Any]
    after: Tail


class Tails:
    """What commits do to the documents of a collection. ttl: of the store, see `Deadlines`."""

    def __init__(self, sessions: Any, logs: Logs, ttl: float | None) -> None:
        self.sessions = sessions
        self.logs = logs
        self.buckets = logs.buckets
        self.deadlines = Deadlines(ttl)
        self._known = Recent[str, Tail](_SESSIONS)

    async def begin(self, session_id: str, changes: Mapping[str, Any], entries: Sequence[Entry]) -> bool:
        """Write the header of a new session and the tail of its log. Returns whether there was none."""
        texts = [entry.json for entry in entries]
        header = new_header(session_id, changes)
        header["until"], until = self.deadlines.born(session_id)
        tail = {"log": header["log"], "start": 0, "size": sum(map(len, texts)), "until": until, "entries": texts}
        document = {**header, "tail": tail}
        change = {"$set": document, "$max": {"expires_at": date(until)}}
        for _ in range(2):
            try:
                await maybe(self.sessions.update_one({"_id": session_id, "tail": {"$exists": False}}, change, upsert=True))
            except DuplicateKeyError:
                if not await self.logs.bury(session_id, expired()):
                    return False
            else:
                self._remember(session_id, Tail.of(document))
                return True
        return False

    async def append(self, session_id: str, version: int, changes: Mapping[str, Any], entries: Sequence[Entry]) -> bool:
        """Set the header's fields and add to the tail, in one update. Returns whether the session was at that version."""
        tail = self._known.get(session_id)
        if tail is None or tail.version != version:
            document = await maybe(self.sessions.find_one({"_id": session_id, "version": version}, HEADER))
            if document is None or over(document):
                return False
            tail = Tail.of(document)
        commit = await self._commit(session_id, tail, changes)
        texts = [entry.json for entry in entries]
        size = sum(map(len, texts))
        if texts and (entries[0].position - tail.start >= TAIL or tail.size + size > _BYTES):
            return await self._roll(commit, texts)
        more = {"$push": {"tail.entries": {"$each": texts}}, "$inc": {"tail.size": size}} if texts else {}
        return await self._update(commit, attrs.evolve(commit.after, size=tail.size + size), **more)

    async def _commit(self, session_id: str, tail: Tail, changes: Mapping[str, Any]) -> _Commit:
        """What is to be done. Where the log's deadline becomes later, its buckets' do so first."""
        where = {"_id": session_id, "version": tail.version, **({} if tail.header_until == FOREVER else alive())}
        header_until, until = self.deadlines.later(tail.header_until, tail.until)
        extends: dict[str, Any] = {}
        if header_until > tail.header_until:
            extends["until"] = header_until
        if until > tail.until:
            extends.update(extended("tail", until))
            if tail.start:
                await self.buckets.keep(tail.log, until)
        after = attrs.evolve(tail, version=changes["version"], header_until=header_until, until=until)
        return _Commit(session_id, where, header_changes(session_id, changes), extends, after)

    async def _roll(self, commit: _Commit, texts: list[str]) -> bool:
        """As `append`, where the older part of the tail becomes a bucket."""
        log = ""  # that has a bucket written ahead
        while (document := await maybe(self.sessions.find_one(commit.where))) is not None:
            tail = document["tail"]
            old, until = tail["entries"], max(tail["until"], commit.after.until)
            rest = old[-KEPT:] if sum(map(len, old[-KEPT:])) < _BYTES // 2 else []
            past = old[: len(old) - len(rest)]
            if past:
                log = tail["log"]
                await self.buckets.add(log, tail["start"], past, until)
            entries = [*rest, *texts]
            after = attrs.evolve(commit.after, start=tail["start"] + len(past), size=sum(map(len, entries)), until=until)
            sets = {"tail.start": after.start, "tail.size": after.size, "tail.entries": entries}
            # not if the log has been touched meanwhile and would outlive the bucket
            if await self._update(commit, after, {"tail.until": tail["until"]}, sets):
                return True
        if log:
            await self.logs.drop_unnamed(log)
        return False

    async def _update(
        self,
        commit: _Commit,
        after: Tail,
        where: Mapping[str, Any] | None = None,
        sets: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> bool:
        change = {"$set": {**commit.sets, **(sets or {})}, **more}
        if commit.extends:
            change["$max"] = commit.extends
        done = await maybe(self.sessions.update_one({**commit.where, **(where or {})}, change))
        if done.matched_count:
            self._remember(commit.session_id, after)
        return bool(done.matched_count)

    def saw(self, document: Mapping[str, Any]) -> None:
        """Remember the tail of a session's document."""
        with suppress(KeyError, TypeError):  # a header that is broken
            self._remember(document["_id"], Tail.of(document))

    def _remember(self, session_id: str, tail: Tail) -> None:
        self._known[session_id] = tail
