"""Integrity: does each entry follow the one before it, as its hash says?"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from sessile.handle import Handle
from sessile.log import Entry


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
    ends = {part.session_id: part.stop or 0 for part in header.segments[:-1]}
    ends[h.session_id] = header.head
    count, total = 0, sum(ends.values())
    for log, end in ends.items():
        position, last = 0, ""
        while position < end:
            entries = await h.read(log, position, min(position + 4096, end))
            for entry in entries:
                if problem := _broken(entry, position, last):
                    return Verification(count, f"entry {position} of {log!r} {problem}")
                position, last, count = position + 1, entry.hash, count + 1
            if position == len(entries) and entries and (problem := await _torn(h, entries[0])):
                return Verification(count, f"{problem} of {log!r}")
            progress(count, total)
            if not entries:
                return Verification(count, f"entry {position} of {log!r} is missing")
        if log == h.session_id and last != header.hash:
            return Verification(count, f"the last entry of {log!r} is not the one that its header names")
    return Verification(count)


async def _torn(h: Handle, first: Entry) -> str:
    """What is wrong between a fork's first entry and the last one it inherited."""
    if first.kind != "fork" or not first.body["lineage"]:
        return ""
    end = first.body["lineage"][-1]
    found = await h.read(end["session_id"], end["stop"] - 1, end["stop"])
    if found and found[0].hash == first.body["hash"]:
        return ""
    return f"entry {end['stop'] - 1} of {end['session_id']!r} is not the one that was inherited by the fork"


def _broken(entry: Entry, position: int, last: str) -> str:
    if entry.position != position:
        return "is missing"
    return "was altered, or the one before it" if entry.prev != last else ""
