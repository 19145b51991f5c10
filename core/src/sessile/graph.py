"""A session as a graph: reverts, as points in a log. Nothing is ever destroyed."""

from __future__ import annotations

from typing import Any

from sessile.encoding import converter
from sessile.lineage import cut
from sessile.log import Change, Draft, Entry, Header, Segment


def reverted(header: Header, point: Entry | None, *, state: dict[str, Any], log: str | None = None) -> Change:
    """The change that makes a session count up to and including `point` (of `log`, default its own; None: nothing).

    The "revert" entry carries the state from there on; what is committed behind it counts again.
    """
    log = log or header.session_id
    kept = cut(header.segments, log, point.position) if point else ()
    lineage = (*kept, Segment(header.session_id, header.head))
    count = point.count if point else 0
    target = [log, point.position] if point else None
    body = {"to": target, "state": state}
    fields = {"lineage": converter.unstructure(lineage), "count": count, "state": state}
    return Change([Draft("revert", body, count=count)], fields)
