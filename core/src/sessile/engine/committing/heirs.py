"""Heirs: the forks that still read a log. Each log that has forks has one record, which lists them.

The record of log X is the hidden session `~heirs:X` without entries, whose state says of each log that inherits from X how
many entries of it: {log: stop}. A fork is in the records of all logs that it inherits from before it becomes
visible, so that a delete knows which entries the forks still need. The record is separate from the session's header,
which a fork therefore never changes.

In stores that let sessions expire, what a session inherits lives as long as the session. The store lets a header and its own
log expire by itself; the core extends the lives of the ancestors' logs, before the commit that relies on it, and notes in the
header until when it has, so that this happens about once in a tenth of the time.
"""

from __future__ import annotations

import time
from typing import Any

from sessile.engine.committing.commits import Commits, HeaderChange
from sessile.errors import Conflict, CorruptStore
from sessile.log.encoding import JSON
from sessile.log.header import DELETED, PENDING, Ancestor, Header
from sessile.log.ids import HEIRS, owner_of
from sessile.store.waist import MARGIN


def record_of(log: str) -> str:
    """The id of a log's record."""
    return HEIRS + log


async def is_dead(commits: Commits, log: str) -> bool:
    """Is a log's session deleted? Once it is, it is for ever, as no log has the id again."""
    try:
        header = await commits.load(owner_of(log))
    except CorruptStore:  # it may be there: what it needs has to stay
        return False
    return header is None or header.log != log or header.status == DELETED


async def heirs(commits: Commits, log: str) -> dict[str, int]:
    """{log: stop} of the logs that inherit from a log, as far as they are still there."""
    try:
        record = await commits.load(record_of(log))
    except CorruptStore:
        return {}
    return dict(record.state) if record else {}


async def claim(commits: Commits, ancestor: Ancestor, child: str, *, first: bool) -> bool:
    """Record that `child` inherits from the ancestor's log. Returns False if the log has no record and `first` is False."""

    async def entered(record: Header | None) -> dict[str, JSON] | None:
        if record is None and not first:
            return None
        return {"state": {**(record.state if record else {}), child: ancestor.stop}}

    return await _change_record(commits, ancestor.log, entered) is not None


async def release(commits: Commits, log: str, child: str) -> None:
    """Take an heir out of a log's record. Where the log's session is dead, what nobody else inherits goes."""

    async def left(record: Header | None) -> dict[str, JSON] | None:
        return None if record is None or child not in record.state else {"state": _without(record, {child})}

    try:
        record = await _change_record(commits, log, left)
    except CorruptStore:
        return
    if await is_dead(commits, log):
        await settle(commits, log)
    elif record is not None and not record.state:
        await commits.remove(record)


async def settle(commits: Commits, log: str) -> None:
    """Drop what nobody inherits of a log whose session was seen dead.

    A deleted heir still counts until a commit removes it from the record. Otherwise a fork that registers at the same time would
    be overlooked. If the record cannot be read, everything is kept, as nobody knows who inherits.
    """
    keep = 0

    async def without_dead(record: Header | None) -> dict[str, JSON] | None:
        nonlocal keep
        keep, void = await _needed(commits, record.state if record else {})
        return {"state": _without(record, void)} if record and void else None

    while True:
        try:
            record = await _change_record(commits, log, without_dead)
        except CorruptStore:
            return
        await commits.prune(log, keep)
        if keep or record is None or await commits.remove(record):
            return


async def _needed(commits: Commits, stops: dict[str, int]) -> tuple[int, set[str]]:
    """How many entries the living heirs need, and the dead ones that were found on the way."""
    void: set[str] = set()
    for child, stop in sorted(stops.items(), key=lambda item: -item[1]):
        if not await is_dead(commits, child):
            return stop, void
        void.add(child)
    return 0, void


async def tidy(commits: Commits, record: Header, *, repair: bool) -> bool:
    """Does a record name heirs that are dead, or none at all? With `repair`, that is mended."""
    void = {child for child in record.state if await is_dead(commits, child)}
    if record.state and not void:
        return False
    if repair:
        try:
            record = await commits.change(record, state=_without(record, void))
        except Conflict:  # somebody is at it
            return True
        log = record.session_id.removeprefix(HEIRS)
        if await is_dead(commits, log):
            await settle(commits, log)
        elif not record.state:
            await commits.remove(record)
    return True


async def _change_record(commits: Commits, log: str, fields: HeaderChange) -> Header | None:
    """Change a log's record, as `Commits.change_newest` does."""
    name, what = record_of(log), f"what is known of the forks of session {owner_of(log)!r}"
    return await commits.change_newest(name, await commits.load(name), fields, what)


def _without(record: Header, children: set[str]) -> dict[str, Any]:
    return {child: stop for child, stop in record.state.items() if child not in children}


def how_it_went(commits: Commits) -> str:
    """What became of a session that a store does not have any more."""
    return "was deleted" if commits.can.ttl is None else "was deleted, or has expired,"


async def keep_inherited(commits: Commits, header: Header) -> dict[str, Any]:
    """Extend the expiry of the inherited logs to that of the session after its next commit. Returns the header fields to set."""
    ttl = commits.can.ttl
    if not header.ancestors or (ttl is None and header.kept is None):
        return {}
    if ttl is None:
        kept = None
    elif header.kept is None and header.status != PENDING:  # it stays, whatever this store does with others
        return {}
    else:
        until = time.time() + ttl
        if header.kept is not None and until <= header.kept:
            return {}
        kept = round(until + MARGIN * ttl, 3)
    for ancestor in header.ancestors:
        if ancestor.stop:
            await commits.tell(commits.can.touch, ancestor.log, kept)  # type: ignore[arg-type]
    return {"kept": kept}
