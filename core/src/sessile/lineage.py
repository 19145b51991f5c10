"""Lineage as pure functions: which ranges of which logs a session reads, and how turns are put together.

A point is (session id of a log, position in it). What counts up to a point is a cut lineage; nothing is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from sessile.log import Entry, Header, Segment
from sessile.messages import Message, from_entry


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


def unbegun(entries: Iterable[Entry]) -> set[str]:
    """The turns that some of these entries belong to but which began before them."""
    turns: set[str] = set()
    ids: set[str] = set()
    for entry in entries:
        if entry.turn is not None:
            turns.add(entry.turn)
            ids.add(entry.id)
    return turns - ids


def in_turns(entries: Iterable[Entry]) -> list[list[Message]]:
    """Messages as turns, each contiguous, in the order they began. A message outside of turns stands alone.

    The messages of a turn without a reply, or with tool calls that have no results, are marked `open`.
    """
    turns: dict[str, list[Message]] = {}
    for entry in entries:
        if entry.kind == "message":
            turns.setdefault(entry.turn or entry.id, []).append(from_entry(entry))
    return [_marked(turn) if "turn" in turn[0] else turn for turn in turns.values()]


def _marked(turn: list[Message]) -> list[Message]:
    last = turn[-1]
    if last.role == "assistant" and not unanswered(turn):
        return turn
    return [Message({**said, "open": True}) for said in turn]


def unanswered(messages: Iterable[Message]) -> set[str]:
    """The ids of tool calls among these messages that have no result among them."""
    calls: set[str] = set()
    results: set[str | None] = set()
    for said in messages:
        calls.update(call["id"] for call in said.get("tool_calls", ()))
        if said["role"] == "tool":
            results.add(said.get("tool_call_id"))
    return calls - results


def own_segment(header: Header) -> Segment:
    """The open range of a session's own log: what the next entry is appended to."""
    return header.lineage[-1] if header.lineage else Segment(header.session_id, 0)
