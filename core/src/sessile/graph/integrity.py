"""Integrity: does each entry follow the one before it, as its hash says?"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from sessile.engine.handle import Handle
from sessile.errors import CorruptStore
from sessile.log.entries import Entry, Segment
from sessile.log.lineage import inherited_end, pieces, torn
from sessile.log.stamping import altered, altered_text, ends_otherwise


@attrs.frozen
class Verification:
    """What `verify` found: how many entries it read, and the first problem with its log and position ("" for none)."""

    entries: int
    problem: str = ""

    def __bool__(self) -> bool:
        return not self.problem


async def verify(h: Handle, *, progress: Callable[[int, int], None] = lambda done, total: None) -> Verification:
    """Check every entry of the session's logs: none is missing, and each carries the hash of the one before it.

    A fork's first entry carries the hash of the last one it inherited. progress: called with the number of entries
    checked, and of all.
    """
    header = await h.refresh()
    parts = [Segment(depth, 0, row.stop) for depth, row in enumerate(header.ancestors) if row.stop]
    parts.append(Segment(header.depth, 0, header.head))
    checked, total = 0, sum(part.stop or 0 for part in parts)
    for part in parts:
        log, last = header.log_at(part.depth), ""
        for piece in pieces(part):
            try:
                entries = await h.read(piece)
            except CorruptStore as error:
                return Verification(checked, str(error))
            if (position := altered(entries, piece.start, last)) is not None:
                return Verification(checked + position - piece.start, altered_text(position, log))
            last, checked = entries[-1].hash, checked + len(entries)
            if not piece.start and (problem := await _torn(h, entries[0])):
                return Verification(checked, f"{problem} by log {log!r}")
            progress(checked, total)
        if part.depth == header.depth and last != header.hash:
            return Verification(checked, ends_otherwise(log))
    return Verification(checked)


async def _torn(h: Handle, first: Entry) -> str:
    """What is wrong between a fork's first entry and the last one it inherited."""
    if (end := inherited_end(first)) is None:
        return ""
    return torn(first, await h.entry(end.depth, (end.stop or 0) - 1), end.depth)
