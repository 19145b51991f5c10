"""The messages that have all words of a text: from the index of a store that has one, else by reading all its sessions.

Both ways compare words as `words.py` takes them out of a text, and leave out what cannot be read: one broken session, or
one that is deleted meanwhile, hides nothing of the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import ParamSpec

import attrs

from sessile.commits import Commits
from sessile.drive import run
from sessile.errors import CorruptStore, Missing, SessionNotFound
from sessile.handle import Handle
from sessile.heirs import heirs
from sessile.history import get_messages
from sessile.ids import owner_of
from sessile.log import Entry, Header
from sessile.messages import Message, from_entry, handed_out
from sessile.plugins import installed
from sessile.words import words

P = ParamSpec("P")


@attrs.frozen
class Hit:
    """A message found by `search`."""

    session_id: str
    message: Message


def search_index(commits: Commits, text: str, user_id: str | None, size: int) -> Iterator[Hit]:
    """The hits in a store that has an index, best first. size: how many candidates it is asked for at a time."""
    search = commits.store.search  # type: ignore[attr-defined]
    for offset in count(0, size):
        found = run(commits.face.call(search, text, user_id=user_id, limit=size, offset=offset))
        for log, entry in found:
            yield from _shown(commits, log, entry)
        if not found:
            return


def search_all(commits: Commits, text: str, headers: Iterable[Header]) -> Iterator[Hit]:
    """The hits in these sessions, in their order."""
    wanted = set(words(text))
    for header in headers:
        yield from _readable(_in_session, commits, header, wanted)


def _readable(look: Callable[P, list[Hit]], *args: P.args, **kwargs: P.kwargs) -> list[Hit]:
    """What a look at one session finds; nothing where that is broken, or was deleted just now."""
    try:
        return look(*args, **kwargs)
    except (CorruptStore, Missing, SessionNotFound):
        return []


def _in_session(commits: Commits, header: Header, wanted: set[str]) -> list[Hit]:
    h = _handle(commits, header)
    messages = run(get_messages(h))
    if h.seen is None or h.seen.log != header.log:  # another has the id by now
        return []
    return [Hit(header.session_id, said) for said in messages if wanted <= {*words(said.text)}]


def _shown(commits: Commits, log: str, entry: Entry) -> list[Hit]:
    """An entry as a hit in the session that has its log, else in one that inherits it; nothing where it counts in none."""
    return _readable(_in_log, commits, log, log, entry) or _readable(_inherited, commits, log, entry)


def _inherited(commits: Commits, log: str, entry: Entry) -> list[Hit]:
    hits = (_readable(_in_log, commits, heir, log, entry) for heir in run(heirs(commits, log)))
    return next(filter(None, hits), [])


def _in_log(commits: Commits, name: str, log: str, entry: Entry) -> list[Hit]:
    """An entry of `log` as a hit in the session whose own log is `name`, if it counts there."""
    header = run(commits.load(owner_of(name)))
    if header is None or header.log != name or header.hidden:
        return []
    parts = [part for part in run(_handle(commits, header).lineage(header)) if header.log_at(part.depth) == log]
    if not any(part.start <= entry.position < (part.stop or 0) for part in parts):
        return []
    return [Hit(header.session_id, *handed_out([from_entry(entry)]))]


def _handle(commits: Commits, header: Header) -> Handle:
    return Handle(commits.face, commits.store, header.session_id, plugins=installed())
