"""Lineage as pure functions: which ranges of which logs a session reads.

A point is (session id of a log, position in it). What counts up to a point is a cut lineage; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sessile.encoding import converter
from sessile.log import Change, Draft, Header, Segment


def cut(segments: Sequence[Segment], log: str, position: int) -> tuple[Segment, ...]:
    """The part of a lineage up to and including one entry; ValueError where the entry does not count in it."""
    kept: list[Segment] = []
    for segment in segments:
        if segment.session_id == log and segment.start <= position < (segment.stop or position + 1):
            return (*kept, Segment(log, segment.start, position + 1))
        kept.append(segment)
    raise ValueError(f"entry {position} of {log!r} does not count in this lineage")


def counts(segments: Iterable[Segment], log: str, position: int) -> bool:
    """Does an entry count in a lineage?"""
    return any(s.session_id == log and s.start <= position and (s.stop is None or position < s.stop) for s in segments)


def chunks_backwards(segments: Sequence[Segment], first: int) -> Iterator[Segment]:
    """The lineage in pieces from its end: `first` entries, then 16, and each next twice as many (at most 4,096)."""
    size, following = max(first, 1), 16
    for segment in reversed(segments):
        stop = segment.stop or 0
        while stop > segment.start:
            start = max(segment.start, stop - size)
            yield Segment(segment.session_id, start, stop)
            stop, size, following = start, following, min(following * 2, 4096)


def chunks(segments: Iterable[Segment], size: int = 4096) -> Iterator[Segment]:
    """The lineage in pieces of at most `size` entries from its beginning."""
    for segment in segments:
        for start in range(segment.start, segment.stop or 0, size):
            yield Segment(segment.session_id, start, min(start + size, segment.stop or 0))


def reverted(
    header: Header, lineage: Sequence[Segment], *, count: int, state: dict[str, Any], position: int | None = None
) -> Change:
    """The change that makes a session count what a lineage says, and what follows. position: the "revert" entry's."""
    position = header.head if position is None else position
    after = converter.unstructure((*lineage, Segment(header.session_id, position)))
    body = {"lineage": converter.unstructure(lineage), "state": state}
    return Change([Draft("revert", body, count=count)], {"lineage": after, "count": count, "state": state})


def common(one: Sequence[Segment], header: Header, other: Sequence[Segment], other_header: Header) -> tuple[Segment, ...]:
    """What two lineages share from their beginnings, in the names that the first has for the logs."""
    shared: list[Segment] = []
    for a, b in zip(one, other, strict=False):
        if (header.where(a.session_id), a.start) != (other_header.where(b.session_id), b.start):
            break
        stop = min(a.stop or 0, b.stop or 0)
        if stop > a.start:
            shared.append(Segment(a.session_id, a.start, stop))
        if a.stop != b.stop:
            break
    return tuple(shared)


def without(segments: Sequence[Segment], beginning: Sequence[Segment]) -> list[Segment]:
    """The rest of a lineage behind a beginning of it."""
    rest = list(segments[len(beginning) :])
    if beginning and beginning[-1].stop != segments[len(beginning) - 1].stop:
        last = segments[len(beginning) - 1]
        rest.insert(0, Segment(last.session_id, beginning[-1].stop or 0, last.stop))
    return rest
