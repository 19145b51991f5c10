"""Lineage as pure functions: which ranges of which logs a session reads.

A point is the end of a range: what counts there is that range, and what its first entry names as the range before it
(see `before`). So an entry says what counts up to it by naming one range, however often the session was reverted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sessile.log.encoding import JSON, json_value
from sessile.log.entries import FORK, REVERT, SNAPSHOT, Entry, Segment
from sessile.log.header import Ancestor, Header
from sessile.log.stamping import Change, Draft

KNOWN = 16  # ranges that a header names; those before them are found from entry to entry


def before(entry: Entry) -> Segment | None:
    """The range before the one that an entry begins; None where nothing counts before it."""
    named = entry.body.get("before") if entry.kind in (FORK, REVERT) else None
    return Segment(*named) if named else None


def inherited_end(first: Entry) -> Segment | None:
    """The range whose last entry a fork's first entry names by its hash; None where nothing was inherited, or it is no fork's."""
    return before(first) if first.kind == FORK else None


def torn(first: Entry, last: Entry, depth: int) -> str:
    """What is wrong between a fork's first entry and the last one that it inherits, of the log at a depth; "" for nothing."""
    end = inherited_end(first)
    if end is None or (end.depth, end.stop) != (depth, last.position + 1) or first.body["hash"] == last.hash:
        return ""
    return f"entry {last.position} at depth {depth} is not the one that was inherited"


def cut(segments: Sequence[Segment], last: Segment) -> tuple[tuple[Segment, ...], bool]:
    """The ranges up to and including `last`, and whether there are older ones that are not among these."""
    for index, part in enumerate(segments):
        if (part.depth, part.start) == (last.depth, last.start) and (last.stop or 0) <= (part.stop or 0):
            return (*segments[:index], last), False
    return (last,), True


def followed(header: Header, last: Segment | None, begin: Segment) -> dict[str, Any]:
    """The header's `lineage` and `older` fields for a history that goes up to `last` and continues with `begin`."""
    if last is None:
        return {"lineage": [list(begin)], "older": False}
    if (last.depth, last.stop) == (begin.depth, begin.start):  # they touch: one range
        begin = Segment(begin.depth, last.start)
        parts, older = cut(header.segments, last)
        parts = (*parts[:-1], begin)
    else:
        parts, older = cut(header.segments, last)
        parts = (*parts, begin)
    older = older or header.older or len(parts) > KNOWN
    return {"lineage": [list(part) for part in parts[-KNOWN:]], "older": older}


def inherited(header: Header, last: Segment | None) -> tuple[Ancestor, ...]:
    """The ancestors of a fork that begins behind the end of `last`: each log, and the most that is read of it."""
    depth, stop = (last.depth, last.stop or 0) if last is not None else (-1, 0)
    stops = [row.stop if above < depth else 0 for above, row in enumerate(header.ancestors)]
    logs = [*(row.log for row in header.ancestors), header.log]
    return tuple(
        Ancestor(log, stop if above == depth else kept) for above, (log, kept) in enumerate(zip(logs, [*stops, 0], strict=True))
    )


def pieces_backwards(part: Segment, size: int) -> Iterator[Segment]:
    """A range in pieces from its end: `size` entries, then 16, and each next twice as many (at most 4,096)."""
    size, following, stop = max(size, 1), 16, part.stop or 0
    while stop > part.start:
        start = max(part.start, stop - size)
        yield Segment(part.depth, start, stop)
        stop, size, following = start, following, min(following * 2, 4096)


def pieces(part: Segment, size: int = 4096) -> Iterator[Segment]:
    """A range in pieces of at most `size` entries from its beginning."""
    for start in range(part.start, part.stop or 0, size):
        yield Segment(part.depth, start, min(start + size, part.stop or 0))


def reverted(
    header: Header,
    last: Segment | None,
    *,
    count: int,
    state: Mapping[str, Any],
    base: Sequence[int] | None,
    position: int | None = None,
    **body: Any,
) -> Change:
    """The change that reverts a session to the end of `last` (None: to the empty beginning).

    count, state: as they were there. base: [depth, position] of the entry that says what the state was; None for none.
    position: the "revert" entry's, default the next. Further keywords go into the entry's body.
    """
    position = header.head if position is None else position
    fields = followed(header, last, Segment(header.depth, position))
    body.update(before=list(last) if last else None, state_at=list(base) if base else None)
    return Change([Draft(REVERT, body, count=count)], {**fields, "count": count, "state": dict(state)})


def snapshot_draft(header: Header, label: str, metadata: Mapping[str, JSON] | None = None) -> Draft:
    """The entry of a snapshot: small, whatever the session's length, state and past."""
    body = {
        "label": json_value(label, "label"),
        "metadata": json_value(dict(metadata or {}), "metadata"),
        "start": header.segments[-1].start,
        "previous": header.last_snapshot,
        "mark": header.mark,
    }
    return Draft(SNAPSHOT, body)


def shared(one: Sequence[Segment], header: Header, other: Sequence[Segment], other_header: Header) -> tuple[Segment, ...]:
    """What two whole lineages share from their beginnings."""
    both: list[Segment] = []
    for a, b in zip(one, other, strict=False):
        if a.depth != b.depth or a.start != b.start or header.log_at(a.depth) != other_header.log_at(b.depth):
            break
        stop = min(a.stop or 0, b.stop or 0)
        if stop > a.start:
            both.append(Segment(a.depth, a.start, stop))
        if a.stop != b.stop:
            break
    return tuple(both)


def without(segments: Sequence[Segment], beginning: Sequence[Segment]) -> list[Segment]:
    """The rest of a whole lineage behind a beginning of it."""
    rest = list(segments[len(beginning) :])
    if beginning and beginning[-1].stop != segments[len(beginning) - 1].stop:
        last = segments[len(beginning) - 1]
        rest.insert(0, Segment(last.depth, beginning[-1].stop or 0, last.stop))
    return rest
