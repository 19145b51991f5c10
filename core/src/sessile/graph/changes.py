"""What counts in a session now and did not before, for whoever keeps something that is made of it: an index, memories, a cache.

One durable verb, instead of an event for each of revert, undo, redo, fork, edit, merge, `set_history`, `load` and delete: who
was down catches up, and another process's writes are the same case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import attrs

from sessile.drive.shown import shorten
from sessile.engine.handle import Handle
from sessile.errors import InvalidInput
from sessile.log.encoding import JSON, copied
from sessile.log.entries import Entry, Segment
from sessile.log.header import Header
from sessile.log.lineage import pieces, shared, without


class Span(NamedTuple):
    """The entries of a log from position `start` on and before `stop` (None: all that follow)."""

    log: str
    start: int
    stop: int | None


@attrs.frozen
class Changes:
    """What has changed since a cursor. added: what counts now and did not; gone: what counted and does not any more.

    Both are spans, oldest first, so that a fork, which inherits all, costs nothing for each entry: `session.read(span)` has the
    entries. Where the session was deleted and begun anew, all of the old one's logs are gone. cursor: JSON, for the next time.
    """

    added: list[Span]
    gone: list[Span]
    cursor: dict[str, JSON]


async def changes(h: Handle, since: Mapping[str, JSON] | None = None) -> Changes:
    """What counts in this session now and did not at a cursor, and what no longer does. None: all that counts was added.

    since: the `cursor` of an earlier answer; `InvalidInput` for what is none. Costs what has changed, not what there is: a
    session that was only added to is not read at all.
    """
    logs, last = _cursor_of(since)
    header = await h.refresh()
    if not header.version:
        return Changes([], _all_of(logs), {})
    cursor = {"logs": _path(header), "last": list(header.segments[-1])}
    if not logs or logs != cursor["logs"]:
        return Changes(_spans(header, await h.lineage(header)), _all_of(logs), cursor)
    newest = header.segments[-1]
    if (newest.depth, newest.start) == (last.depth, last.start) and (newest.stop or 0) >= (last.stop or 0):
        more = [Segment(newest.depth, last.stop or 0, newest.stop)] if newest.stop != last.stop else []
        return Changes(_spans(header, more), [], cursor)
    then, now = await h.lineage(header, last), await h.lineage(header)
    both = shared(then, header, now, header)
    return Changes(_spans(header, without(now, both)), _spans(header, without(then, both)), cursor)


async def read(h: Handle, span: Span) -> list[Entry]:
    """The entries of a span of one of the session's logs: messages, state, snapshots and plugins' own, also of what was reverted.

    They are copies. `InvalidInput` for a span of another session's, or beyond what this one may read.
    """
    header = await h.refresh()
    log, start, stop = _span_of(span)
    path = _path(header)
    if log not in path:
        raise InvalidInput(f"span is {shorten(span)}, of a log that session {h.session_id!r} does not read")
    depth = path.index(log)
    end = header.head if depth == header.depth else header.ancestors[depth].stop
    stop = end if stop is None else stop
    if not 0 <= start <= stop <= end:
        raise InvalidInput(f"span is {shorten(span)}, and session {h.session_id!r} reads that log up to {end}")
    found: list[Entry] = []
    for piece in pieces(Segment(depth, start, stop)):
        found += await h.read(piece)
    return [attrs.evolve(entry, body=copied(entry.body)) for entry in found]


def _path(header: Header) -> list[str]:
    return [*(row.log for row in header.ancestors), header.log]


def _spans(header: Header, parts: list[Segment]) -> list[Span]:
    return [Span(header.log_at(part.depth), part.start, part.stop) for part in parts]


def _all_of(logs: list[str]) -> list[Span]:
    return [Span(log, 0, None) for log in logs]


def _cursor_of(since: Any) -> tuple[list[str], Segment]:
    """(the logs that the session read, the last range that counted)."""
    if since is None or since == {}:
        return [], Segment(0, 0, 0)
    try:
        logs, (depth, start, stop) = since["logs"], since["last"]
        right = all(isinstance(log, str) for log in logs) and all(type(n) is int and n >= 0 for n in (depth, start, stop))
        if right and depth < len(logs) and start <= stop:
            return [*logs], Segment(depth, start, stop)
    except (TypeError, KeyError, ValueError):
        pass
    raise InvalidInput(f"since is {shorten(since)}, which is no cursor: pass the `cursor` of what `changes` returned, or None")


def _span_of(span: Any) -> Span:
    try:
        log, start, stop = span
    except (TypeError, ValueError):
        log = start = stop = None
    numbers = type(start) is int and (stop is None or type(stop) is int)
    if not isinstance(log, str) or not numbers:
        raise InvalidInput(f"span is {shorten(span)}, which is none: pass (log, start, stop), such as one of `changes`")
    return Span(log, start, stop)
