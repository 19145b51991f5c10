"""The messages that have all words of a text: from the index of a store that has one, else by reading all its sessions.

Both ways compare words as `sessile.store.words` takes them out of a text, find the same, and leave out what cannot be read:
one broken session, or one that is deleted meanwhile, hides nothing of the others.

However many forks inherit a message, it is found once: in the session in which it was said. Where that is gone, or does not
count it any more, it is found in the oldest fork that counts it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count

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
from sessile.store.capabilities import words

_UNREADABLE = (CorruptStore, Missing, SessionNotFound)


@attrs.frozen
class Hit:
    """A message found by `search`."""

    session_id: str
    message: Message


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

    def in_index(self, text: str, size: int) -> Iterator[Hit]:
        """The messages with all words of a text in a store that has an index, best first. size: how many candidates at a time."""
        search = self._commits.can.search
        assert search is not None
        for offset in count(0, size):
            found = run(self._commits.face.call(search, text, user_id=self._user_id, limit=size, offset=offset))
            for log, entry in found:
                place = self._place(log, entry.position)
                if place is not None:
                    yield _hit(place.session_id, entry)
            if not found:
                return

    def in_all(self, headers: Iterable[Header], wanted: Callable[[Entry], bool]) -> Iterator[Hit]:
        """The messages in these sessions, in their order, whose entries are wanted."""
        for header in headers:
            try:
                found = list(self._in_session(header, wanted))
            except _UNREADABLE:
                continue
            yield from found

    def _in_session(self, header: Header, wanted: Callable[[Entry], bool]) -> Iterator[Hit]:
        h = _handle(self._commits, header.session_id)
        now = run(h.refresh())
        if now.log != header.log or now.hidden:  # another has the id by now
            return
        for part in run(h.lineage(now)):
            log = now.log_at(part.depth)
            for entry in (entry for piece in pieces(part) for entry in run(h.read(piece, MESSAGE))):
                if wanted(entry) and self._is_of(now, log, entry.position):
                    yield _hit(now.session_id, entry)

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
        if name not in self._sessions:
            self._sessions[name] = self._session(name)
        header, ranges = self._sessions[name] or (None, [])
        return header if any(part.log == log and part.start <= position < part.stop for part in ranges) else None

    def _session(self, name: str) -> tuple[Header, list[_Range]] | None:
        try:
            header = run(self._commits.load(owner_of(name)))
            if header is None or header.log != name or header.hidden or self._user_id not in (None, header.user_id):
                return None
            lineage = run(_handle(self._commits, header.session_id).lineage(header))
        except _UNREADABLE:
            return None
        return header, [_Range(header.log_at(part.depth), part.start, part.stop or 0) for part in lineage]


def has_words(text: str) -> Callable[[Entry], bool]:
    """Has the message of an entry all words of a text?"""
    wanted = set(words(text))
    return lambda entry: wanted <= {*words(from_entry(entry).text)}


def _age(header: Header) -> tuple[float, str]:
    return header.created_at, header.session_id


def _hit(session_id: str, entry: Entry) -> Hit:
    return Hit(session_id, *handed_out([from_entry(entry)]))


def _handle(commits: Commits, session_id: str) -> Handle:
    return Handle(commits.face, commits.store, session_id, plugins=installed())
