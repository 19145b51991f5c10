"""A log as a file: a first line with its id, then a line for each entry; the last of a commit carries the header's changes too.

Lines behind the last commit (a writer died in the middle of one) do not count, and the next append cuts them off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sessile.errors import CorruptStore
from sessile.store import Entry, Header, from_json, to_json

BLOCK = 16_384  # bytes read at a time when looking for a line
_FIRST = 4096  # bytes: more than the first line has


def first_line(log: str) -> bytes:
    """The line that a log's file begins with."""
    return f'{{"sessile":1,"log":{to_json(log)}}}\n'.encode()


def log_of(descriptor: int, path: str) -> str:
    """The id of the log in a file; "" where nothing is in it yet."""
    line, newline, _ = os.pread(descriptor, _FIRST, 0).partition(b"\n")
    return str(parse(line, path).get("log", "")) if newline else ""


def commit_lines(header: Header | None, entries: Sequence[Entry], changes: Mapping[str, Any]) -> bytes:
    """A commit as lines. Of the changes only those are written that do not follow from the last entry."""
    lines = [entry.json for entry in entries[:-1]]
    if entries:
        implied = _implied(header, entries[-1])
        told = {name: value for name, value in changes.items() if name not in implied or implied[name] != value}
        lines.append(f'{entries[-1].json[:-1]},"commit":{to_json(told)}}}')
    else:
        lines.append(f'{{"commit":{to_json(dict(changes))}}}')
    return ("\n".join(lines) + "\n").encode()


def _implied(header: Header | None, last: Entry) -> dict[str, Any]:
    return {
        "version": (header.version if header else 0) + 1,
        "updated_at": last.time,
        "head": last.position + 1,
        "count": last.count,
        "base": last.base,
        "hash": last.hash,
        "commit": last.id,
    }


def fold(header: Header | None, lines: bytes, path: str) -> tuple[Header | None, int]:
    """The header after the whole commits in `lines`, and how many bytes those are."""
    start = end = 0
    while (newline := lines.find(b"\n", start)) >= 0:
        line, start = lines[start:newline], newline + 1
        if not line.endswith(b"}}"):  # no line of a commit's end ends otherwise: spare the parsing
            _check(line, path)
            continue
        data = parse(line, path)
        changes = data.pop("commit", None)
        if isinstance(changes, dict):
            implied = _implied(header, Entry.from_dict(data)) if data else {}
            told = {**implied, **changes}
            header = header.after(told) if header else Header.from_dict(told)
            end = start
    return header, end


def parse(line: bytes, path: str) -> dict[str, Any]:
    """The JSON object in a line, or `CorruptStore`."""
    try:
        data = from_json(line)
    except ValueError as error:
        data = error
    if not isinstance(data, dict):
        raise CorruptStore(
            f"{path} has a line that is no entry: {line[:60]!r}. Restore the file from a copy, or delete its folder"
        )
    return data


def _check(line: bytes, path: str) -> None:
    if not (line.startswith(b"{") and line.endswith(b"}")):
        parse(line, path)


def offset_behind(descriptor: int, end: int, position: int, path: str) -> int:
    """Where the line of the entry at `position` ends, or the last one before it, where that is not there."""
    begins = offset = _find(descriptor, end, position, path)
    for line in _lines(descriptor, begins, end):
        if parse(line, path).get("position", -1) > position:
            break
        offset += len(line) + 1
    return offset


def entries(descriptor: int, end: int, start: int, stop: int, path: str) -> Iterator[Entry]:
    """The entries `start` to `stop` (exclusive) in the first `end` bytes of an open log."""
    offset = _find(descriptor, end, start, path)
    for line in _lines(descriptor, offset, end):
        data = parse(line, path)
        data.pop("commit", None)
        if not data:
            continue
        position = data.get("position", -1)
        if position >= stop:
            return
        if position >= start:
            yield Entry.from_dict(data)


def _find(descriptor: int, end: int, position: int, path: str) -> int:
    """A byte offset where a line begins, at or shortly before the entry at `position`: a binary search over the file."""
    low, high = 0, end  # the entry's line begins at or behind `low`, which is the beginning of a line
    while high - low > BLOCK:
        middle = (low + high) // 2
        found = _first_entry(descriptor, middle, high, path)
        if found is None or found[1] > position:
            high = middle
        else:
            low = found[0]
    return low


def _first_entry(descriptor: int, offset: int, end: int, path: str) -> tuple[int, int] | None:
    """(byte offset, position) of the first entry whose line begins behind `offset`, before `end`."""
    begins = offset
    for index, line in enumerate(_lines(descriptor, offset, end)):
        if index and (position := parse(line, path).get("position")) is not None:
            return begins, position
        begins += len(line) + 1
    return None


def _lines(descriptor: int, offset: int, end: int) -> Iterator[bytes]:
    """The lines from `offset` to `end`, without their newlines; a last one without a newline is left out."""
    rest = b""
    while offset < end:
        block = os.pread(descriptor, min(BLOCK, end - offset), offset)
        if not block:
            return
        offset += len(block)
        *whole, rest = (rest + block).split(b"\n")
        yield from whole
