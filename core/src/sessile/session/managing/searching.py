"""The messages that a search asks for: from the index of a store that has one, else by reading all its sessions.

Either way each message is compared with the query as it is now, and must count in a session that is there: an index only says
where to look. What cannot be read is left out: one broken session, or one that is deleted meanwhile, hides nothing of the
others.

However many forks inherit a message, it is found once: in the session in which it was said. Where that is gone, or does not
count it any more, it is found in the oldest fork that counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import attrs

from sessile.conversation.messages import Message, from_entry, handed_out
from sessile.drive.faces import run
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.heirs import heirs
from sessile.engine.handle import Handle
from sessile.errors import CorruptStore, Missing, SessionNotFound
from sessile.log.entries import MESSAGE, Entry
from sessile.log.header import Header
from sessile.log.ids import owner_of
from sessile.log.lineage import pieces
from sessile.plugins.discovery import installed
from sessile.store.text.query import SearchQuery

_UNREADABLE = (CorruptStore, Missing, SessionNotFound)


_MOST = 1000  # candidates asked for at a time


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
        start = max(0, min(first - (length - min(end - first, length)) // 3, len(text) - length))
        stop = max(start + length, end)
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


class Search:
    """One search, with a cache of the sessions and forks it has loaded.

    user_id: whose sessions it is in; None: everybody's.
    """

    def __init__(self, commits: Commits, user_id: str | None) -> None:
        self._commits = commits
        self._user_id = user_id
        self._sessions: dict[str, tuple[Header, list[_Range]] | None] = {}  # by their own logs
        self._heirs: dict[str, dict[str, int]] = {}

    def hits(self, query: SearchQuery, headers: Callable[[], Iterable[Header]], size: int) -> Iterator[Hit]:
        """What a query finds. headers: gives those of all sessions that it is about. size: how many are wanted."""
        only = None
        if query.session_id is not None:
            named = self._named(query.session_id)
            if named is None:
                return
            only, ranges = named
            query = attrs.evolve(query, logs=tuple(dict.fromkeys(part.log for part in ranges)))
        search, size, offset, seen = self._commits.can.search, min(size, _MOST), 0, set[tuple[str, int]]()
        while search is not None:
            places = run(self._commits.face.call(search, query, limit=size, offset=offset))
            if places is None and not offset:
                break
            for place in places or ():
                if place not in seen:
                    seen.add(place)
                    yield from self._hit_at(query, only, *place)
            if not places:
                return
            offset, size = offset + size, min(size * 4, _MOST)
        for hit in self.in_all([only] if only is not None else headers(), lambda entry: _is_wanted(query, entry), only):
            yield Hit(hit.session_id, hit.message, query)

    def _hit_at(self, query: SearchQuery, only: Header | None, log: str, position: int) -> Iterator[Hit]:
        """The message of an entry, where it counts and is what was asked for."""
        header = self._place(log, position) if only is None else self._counting(only.log, log, position)
        if header is None:
            return
        try:
            entries = run(self._commits.read(log, position, position + 1, MESSAGE))
            if entries and _is_wanted(query, entries[0]):
                yield Hit(header.session_id, handed_out([from_entry(entries[0])])[0], query)
        except _UNREADABLE:
            return

    def in_all(self, headers: Iterable[Header], wanted: Callable[[Entry], bool], only: Header | None = None) -> Iterator[Hit]:
        """The messages in these sessions, in their order, whose entries are wanted. only: one, with all that it inherits."""
        for header in headers:
            try:
                found = list(self._in_session(header, wanted, only is not None))
            except _UNREADABLE:
                continue
            yield from found

    def _in_session(self, header: Header, wanted: Callable[[Entry], bool], whole: bool) -> Iterator[Hit]:
        h = _handle(self._commits, header.session_id)
        now = run(h.refresh())
        if now.log != header.log or now.hidden:  # another has the id by now
            return
        for part in run(h.lineage(now)):
            log = now.log_at(part.depth)
            if not whole and log != now.log and self._counts_all(log, part.start, part.stop or 0):
                continue  # what forks inherit is read once
            for entry in (entry for piece in pieces(part) for entry in run(h.read(piece, MESSAGE))):
                if wanted(entry) and (whole or self._is_of(now, log, entry.position)):
                    yield Hit(now.session_id, handed_out([from_entry(entry)])[0])

    def _counts_all(self, log: str, start: int, stop: int) -> bool:
        """Does a whole range count in the session in which it was said?"""
        _, ranges = self._known(log) or (None, [])
        return any(part.log == log and part.start <= start and stop <= part.stop for part in ranges)

    def _is_of(self, header: Header, log: str, position: int) -> bool:
        """Is an entry that counts in a session found in that one?"""
        if log == header.log:
            return True
        place = self._place(log, position)
        return place is None or place.log == header.log

    def _place(self, log: str, position: int) -> Header | None:
        """The session in which an entry of a log is found; None where it counts in no session."""
        said_in = self._counting(log, log, position)
        if said_in is not None:
            return said_in
        if log not in self._heirs:
            self._heirs[log] = run(heirs(self._commits, log))
        forks = [self._counting(heir, log, position) for heir, stop in self._heirs[log].items() if position < stop]
        return min((fork for fork in forks if fork is not None), key=_age, default=None)

    def _counting(self, name: str, log: str, position: int) -> Header | None:
        """The session whose own log is `name`, if an entry of `log` counts there."""
        header, ranges = self._known(name) or (None, [])
        return header if any(part.log == log and part.start <= position < part.stop for part in ranges) else None

    def _known(self, name: str) -> tuple[Header, list[_Range]] | None:
        if name not in self._sessions:
            self._sessions[name] = self._session(name)
        return self._sessions[name]

    def _named(self, session_id: str) -> tuple[Header, list[_Range]] | None:
        """A session and what counts in it; None where there is none that can be read."""
        try:
            header = run(self._commits.load(session_id))
        except _UNREADABLE:
            return None
        return self._session(header.log) if header is not None else None

    def _session(self, name: str) -> tuple[Header, list[_Range]] | None:
        try:
            header = run(self._commits.load(owner_of(name)))
            if header is None or header.log != name or header.hidden or self._user_id not in (None, header.user_id):
                return None
            lineage = run(_handle(self._commits, header.session_id).lineage(header))
        except _UNREADABLE:
            return None
        return header, [_Range(header.log_at(part.depth), part.start, part.stop or 0) for part in lineage]


def _is_wanted(query: SearchQuery, entry: Entry) -> bool:
    if query.after is not None and entry.time < query.after:
        return False
    return query.matches(from_entry(entry).text)


def _age(header: Header) -> tuple[float, str]:
    return header.created_at, header.session_id


def _handle(commits: Commits, session_id: str) -> Handle:
    return Handle(commits.face, commits.store, session_id, plugins=installed())
