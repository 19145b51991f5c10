"""Lineage as pure functions: which ranges of which logs a session reads.

A point is (session id of a log, position in it). What counts up to a point is a cut lineage; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sessile.log import Segment


def cut(segments: Sequence[Segment], log: str, position: int) -> tuple[Segment, ...]:
    """The part of a lineage up to and including one entry; ValueError where the entry does not count in it."""
    kept: list[Segment] = []
    for segment in segments:
        if segment.session_id == log and segment.start <= position < (segment.stop or position + 1):
            return (*kept, Segment(log, segment.start, position + 1))
        kept.append(segment)
    raise ValueError(f"entry {position} of {log!r} does not count in this lineage")


def chunks_backwards(segments: Sequence[Segment], first: int) -> Iterator[Segment]:
    """The lineage in pieces from its end, the first of `first` entries and each next twice as long (at most 4,096)."""
    size = max(first, 1)
    for segment in reversed(segments):
        stop = segment.stop or 0
        while stop > segment.start:
            start = max(segment.start, stop - size)
            yield Segment(segment.session_id, start, stop)
            stop, size = start, min(size * 2, 4096)


def chunks(segments: Iterable[Segment], size: int = 4096) -> Iterator[Segment]:
    """The lineage in pieces of at most `size` entries from its beginning."""
    for segment in segments:
        for start in range(segment.start, segment.stop or 0, size):
            yield Segment(segment.session_id, start, min(start + size, segment.stop or 0))
