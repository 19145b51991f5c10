"""The messages that a search asks for: from the index of a store that has one, else by reading all its sessions.

Either way each message is compared with the query as it is now, and must count in a session that is there: an index only says
where to look. What cannot be read is left out: one broken session, or one that is deleted meanwhile, hides nothing of the
others.

However many forks inherit a message, it is found once: in the session in which it was said. Where that is gone, or does not
count it any more, it is found in the oldest fork that counts it.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import TypeVar

import attrs

from sessile.conversation.messages import Message, from_entry, handed_out
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.heirs import heirs
from sessile.engine.handle import Handle
from sessile.errors import CorruptStore, InvalidSessionId, Missing, SessionNotFound
from sessile.log.entries import MESSAGE, Entry
from sessile.log.header import Header
from sessile.log.ids import owner_of
from sessile.log.lineage import pieces
from sessile.plugins.discovery import installed
from sessile.store.text.query import SearchQuery

T = TypeVar("T")
_UNREADABLE = (CorruptStore, Missing, SessionNotFound, InvalidSessionId)
_MOST = 1000  # candidates asked for at a time
_Place = tuple[str, int]  # the id of a log, and a position in it


@attrs.frozen
class Hit:
    """A message found by `search`, and the session in which it was."""

    session_id: str
    message: Message
    _query: SearchQuery | None = attrs.field(default=None, repr=False, eq=False)

    @property
    def marks(self) -> list[tuple[int, int]]:
        """(begin, end) of what was asked for in `message.text`, in order."""
        return self._query.marks(self.message.text) if self._query is not None else []

    def snippet(self, length: int = 160, *, before: str = "**", after: str = "**") -> str:
        """The part of the text around the first mark, on one line: about so many characters; "…" where it goes on.

        before, after: what is put around each mark.
        """
        text, marks = self.message.text, self.marks
        first, end = marks[0] if marks else (0, 0)
        start = max(0, min(first - max(0, length - (end - first)) // 3, len(text) - max(0, length)))
        stop = max(start + length, end)
        start = 0 if not start else text.find(" ", start, first) + 1 or start  # where a word begins, if one does
        stop = stop if stop >= len(text) else max(text.rfind(" ", end, stop), end) if " " in text[end:stop] else stop
        parts, at = ["…" if start else ""], start
        for begin, end in marks:
            if start <= begin and end <= stop:
                parts += [text[at:begin], before, text[begin:end], after]
                at = end
        return " ".join("".join([*parts, text[at:stop], "…" if stop < len(text) else ""]).split())


@attrs.frozen
class _Range:
    """Entries of a log, from `start` up to `stop`, that count in some session."""

    log: str
    start: int
    stop: int


@attrs.frozen
class _Found:
    """An entry, where it is, and the session in which it is found."""

    session_id: str
    place: _Place
    entry: Entry

    def hit(self, query: SearchQuery | None = None) -> Hit:
        return Hit(self.session_id, handed_out([from_entry(self.entry)])[0], query)


class Search:
    """One search, with a cache of the sessions and forks it has loaded. query: of whom, and in which session, it is."""

    def __init__(self, commits: Commits, query: SearchQuery) -> None:
        self._commits = commits
        self._query = query
        self._sessions: dict[str, tuple[Header, list[_Range]] | None] = {}  # by their own logs
        self._heirs: dict[str, dict[str, int]] = {}

    async def hits(self, headers: Callable[[], AsyncGenerator[Header]], size: int) -> AsyncGenerator[Hit]:
        """What the query finds. headers: gives those of all sessions that may have it. size: how many are wanted."""
        query, only, found_in = self._query, None, self._place
        if query.session_id is not None:
            named = await self._named(query.session_id)
            if named is None:
                return
            only, ranges = named
            query = attrs.evolve(query, logs=tuple(dict.fromkeys(part.log for part in ranges)))
            found_in = functools.partial(self._counting, only.log)
        seen: set[_Place] = set()
        async with aclosing(self._candidates(query, size)) as places:
            async for place in places:
                if place is None:
                    break
                if place not in seen:
                    seen.add(place)
                    if (hit := await self._hit_at(place, await found_in(*place))) is not None:
                        yield hit
            else:
                return
        among = headers() if only is None else _one(only)
        async with aclosing(among), aclosing(self._in_all(among, self._is_wanted, whole=only is not None)) as in_all:
            async for found in in_all:
                if found.place not in seen:
                    yield found.hit(self._query)

    async def _candidates(self, query: SearchQuery, size: int) -> AsyncGenerator[_Place | None]:
        """What the store's index says, page by page; None in the end where it has no index, or cannot ask it any more."""
        search, size, offset = self._commits.can.search, min(size, _MOST), 0
        while search is not None:
            places = await self._commits.face.call(search, query, limit=size, offset=offset)
            if places is None:
                break
            if not places:
                return
            for place in places:
                yield place
            offset, size = offset + size, min(size * 4, _MOST)
        yield None

    async def _hit_at(self, place: _Place, header: Header | None) -> Hit | None:
        """The message at a place, if it is what was asked for. header: of the session in which it is found, if it is."""
        if header is None:
            return None
        log, position = place
        with suppress(*_UNREADABLE):
            entries = await self._commits.read(log, position, position + 1, MESSAGE)
            if entries and self._is_wanted(entries[0]):
                return _Found(header.session_id, place, entries[0]).hit(self._query)
        return None

    def _is_wanted(self, entry: Entry) -> bool:
        if self._query.after is not None and entry.time < self._query.after:
            return False
        return self._query.matches(from_entry(entry).text)

    async def first(self, headers: AsyncGenerator[Header], wanted: Callable[[Entry], bool]) -> Hit | None:
        """The first message in these sessions whose entry is wanted."""
        async with aclosing(headers), aclosing(self._in_all(headers, wanted)) as found:
            hits = await first_of(found, 1)
        return hits[0].hit() if hits else None

    async def _in_all(
        self, headers: AsyncIterator[Header], wanted: Callable[[Entry], bool], *, whole: bool = False
    ) -> AsyncGenerator[_Found]:
        """The messages in these sessions, in their order, whose entries are wanted. whole: see `_in_session`."""
        async for header in headers:
            try:
                found = [each async for each in self._in_session(header, wanted, whole=whole)]
            except _UNREADABLE:
                continue
            for each in found:
                yield each

    async def _in_session(self, header: Header, wanted: Callable[[Entry], bool], *, whole: bool) -> AsyncGenerator[_Found]:
        """The same of one session; whole: what is found in others, too, as all of it counts in this one."""
        h = _handle(self._commits, header.session_id)
        now = await h.refresh()
        if now.log != header.log or now.hidden:  # another has the id by now
            return
        for part in await h.lineage(now):
            log = now.log_at(part.depth)
            if not whole and log != now.log and await self._counts_all(log, part.start, part.stop or 0):
                continue  # what forks inherit is read once
            for piece in pieces(part):
                for entry in await h.read(piece, MESSAGE):
                    if wanted(entry) and (whole or await self._is_of(now, log, entry.position)):
                        yield _Found(now.session_id, (log, entry.position), entry)

    async def _counts_all(self, log: str, start: int, stop: int) -> bool:
        """Does a whole range count in the session in which it was said?"""
        _, ranges = await self._known(log) or (None, [])
        return any(part.log == log and part.start <= start and stop <= part.stop for part in ranges)

    async def _is_of(self, header: Header, log: str, position: int) -> bool:
        """Is an entry that counts in a session found in that one?"""
        if log == header.log:
            return True
        place = await self._place(log, position)
        return place is None or place.log == header.log

    async def _place(self, log: str, position: int) -> Header | None:
        """The session in which an entry of a log is found; None where it counts in no session."""
        said_in = await self._counting(log, log, position)
        if said_in is not None:
            return said_in
        if log not in self._heirs:
            self._heirs[log] = await heirs(self._commits, log)
        forks = [await self._counting(heir, log, position) for heir, stop in self._heirs[log].items() if position < stop]
        return min((fork for fork in forks if fork is not None), key=_age, default=None)

    async def _counting(self, name: str, log: str, position: int) -> Header | None:
        """The session whose own log is `name`, if an entry of `log` counts there."""
        header, ranges = await self._known(name) or (None, [])
        return header if any(part.log == log and part.start <= position < part.stop for part in ranges) else None

    async def _known(self, name: str) -> tuple[Header, list[_Range]] | None:
        if name not in self._sessions:
            self._sessions[name] = await self._session(name)
        return self._sessions[name]

    async def _named(self, session_id: str) -> tuple[Header, list[_Range]] | None:
        """A session and what counts in it; None where there is none that can be read."""
        with suppress(*_UNREADABLE):
            header = await self._commits.load(session_id)
            return await self._known(header.log) if header is not None else None
        return None

    async def _session(self, name: str) -> tuple[Header, list[_Range]] | None:
        try:
            header = await self._commits.load(owner_of(name))
            if header is None or header.log != name or header.hidden or self._query.user_id not in (None, header.user_id):
                return None
            lineage = await _handle(self._commits, header.session_id).lineage(header)
        except _UNREADABLE:
            return None
        return header, [_Range(header.log_at(part.depth), part.start, part.stop or 0) for part in lineage]


def _age(header: Header) -> tuple[float, str]:
    return header.created_at, header.session_id


def _handle(commits: Commits, session_id: str) -> Handle:
    return Handle(commits.face, commits.store, session_id, plugins=installed())


async def _one(header: Header) -> AsyncGenerator[Header]:
    yield header


async def first_of(values: AsyncIterator[T], limit: int) -> list[T]:
    """The first so many of what a generator yields."""
    found: list[T] = []
    async for value in values:
        found.append(value)
        if len(found) == limit:
            break
    return found
