"""A log as a file: a first line with its id, then a line for each entry; the last of a commit carries the header's changes too.

Lines behind the last commit (a writer died in the middle of one) do not count, and the next append cuts them off.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

from sessile import Message
from sessile.errors import CorruptStore
from sessile.store import ROLES, Entry, Header, from_entry, from_json, to_json, version_after

BLOCK = 4096  # bytes read at a time when looking for a line
_PARSED = 2**18  # … and when many are read; what of a block lies behind the range is read in vain
_NEAR = 10  # entries that are read in vain before those that are looked for
_FEW = 100  # entries, fewer than which are read in small blocks
_HALF = 16  # characters of a hash
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
        implied = _implied(header, entries[-1], changes.get("commit"))
        told = {name: value for name, value in changes.items() if name not in implied or implied[name] != value}
        lines.append(f'{entries[-1].json[:-1]},"commit":{to_json(told)}}}')
    else:
        lines.append(f'{{"commit":{to_json(dict(changes))}}}')
    return ("\n".join(lines) + "\n").encode()


def _implied(header: Header | None, last: Entry, commit: object) -> dict[str, Any]:
    """What follows from a commit's last entry, and the commit's id.

    Nothing behind that entry has its hash, but the id has half of it: where the entry was altered, `hash` is not the entry's.
    """
    half = str(commit)[:_HALF]
    return {
        "version": version_after(header.version if header else 0, str(commit)),
        "updated_at": last.time,
        "head": last.position + 1,
        "count": last.count,
        "base": last.base,
        "hash": half + last.hash[_HALF:],
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
            implied = _implied(header, Entry.from_dict(data), changes.get("commit")) if data else {}
            told = {**implied, **changes}
            header = header.after(told) if header else Header.from_dict(told)
            end = start
    return header, end


def parse(line: bytes, path: str) -> dict[str, Any]:
    """The JSON object in a line, or `CorruptStore`."""
    try:
        data = from_json(line)
    except (ValueError, RecursionError) as error:
        data = error
    if not isinstance(data, dict):
        raise CorruptStore(
            f"{path} has a line of {len(line)} bytes that is no entry. Restore the file from a copy, or delete its folder"
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


def entries(descriptor: int, end: int, start: int, stop: int, path: str) -> list[Entry]:
    """The entries `start` to `stop` (exclusive) in the first `end` bytes of an open log."""
    return [*map(Entry.from_dict, _parsed(descriptor, end, start, stop, path))]


def messages(descriptor: int, end: int, start: int, stop: int, path: str) -> tuple[list[Message], int]:
    """As `entries`, only the messages. And how many entries there are."""
    read = [*_parsed(descriptor, end, start, stop, path)]
    return [_message(data) for data in read if data.get("kind") == "message"], len(read)


def _message(data: dict[str, Any]) -> Message:
    body, about = data.get("body"), (data.get("id"), data.get("time"), data.get("turn", ""))
    plain = type(body) is dict and body.get("role") in ROLES and "raw" not in data and "tool_calls" not in body
    if not plain or [*map(type, about)] != [str, float, str]:
        return from_entry(Entry.from_dict(data))
    message_id, time, turn = about
    if turn:
        return Message(body, id=message_id, timestamp=time, turn=turn)
    return Message(body, id=message_id, timestamp=time)


def _parsed(descriptor: int, end: int, start: int, stop: int, path: str) -> Iterator[dict[str, Any]]:
    """The values of the entries of a range; `CorruptStore` where one of its lines has none, whatever is before and behind it."""
    offset = _find(descriptor, end, start, path)
    broken: CorruptStore | None = None  # of a line that is in the range, unless the next one is of its beginning, or before
    for lines in _blocks(descriptor, offset, end, _PARSED if stop - start > _FEW else BLOCK):
        for data in _parsed_lines(lines, path):
            if isinstance(data, CorruptStore):
                broken = broken or data
                continue
            data.pop("commit", None)
            position = data.get("position", -1)
            if broken is not None and position > start:
                raise broken
            broken = None if position >= 0 else broken
            if position >= stop:
                return
            if position >= start:
                yield data
            if position == stop - 1:
                return
    if broken is not None:
        raise broken


def _parsed_lines(lines: Sequence[bytes], path: str) -> Sequence[dict[str, Any] | CorruptStore]:
    """The JSON objects in lines, all at once, which takes two thirds of the time; the error of each that has none."""
    with suppress(ValueError, RecursionError):
        found = from_json(f"[{b','.join(lines).decode()}]")
        if len(found) == len(lines) and {*map(type, found)} <= {dict}:
            return found  # type: ignore[no-any-return]
    return [_parsed_or_error(line, path) for line in lines]


def _parsed_or_error(line: bytes, path: str) -> dict[str, Any] | CorruptStore:
    try:
        return parse(line, path)
    except CorruptStore as error:
        return error


def _find(descriptor: int, end: int, position: int, path: str) -> int:
    """A byte offset where a line begins, at or shortly before the entry at `position`.

    It is where the entry is if its lines are as long as those that were seen last; each third step halves what is left.
    """
    low, first, high, length, step = 0, 0, end, 0.0, 0  # the entry at `low` is `first`, which is not behind `position`
    while position - first > _NEAR and high - low > BLOCK:
        guess = low + int((position - first - _NEAR // 2) * length)
        middle = guess if step % 3 and low < guess < high else (low + high) // 2
        found, step = _first_entry(descriptor, middle, high, path), step + 1
        if found is not None and found[1] > first:
            length = (found[0] - low) / (found[1] - first)
        if found is None or found[1] > position:
            high = middle
        else:
            low, first = found
    return low


def _first_entry(descriptor: int, offset: int, end: int, path: str) -> tuple[int, int] | None:
    """(byte offset, position) of the first entry whose line begins behind `offset`, before `end`."""
    begins = offset
    for index, line in enumerate(_lines(descriptor, offset, end)):
        data = _parsed_or_error(line, path) if index else {}
        if isinstance(data, dict) and (position := data.get("position")) is not None:
            return begins, position
        begins += len(line) + 1
    return None


def _lines(descriptor: int, offset: int, end: int) -> Iterator[bytes]:
    """The lines from `offset` to `end`, without their newlines; a last one without a newline is left out."""
    return chain.from_iterable(_blocks(descriptor, offset, end, BLOCK))


def _blocks(descriptor: int, offset: int, end: int, size: int) -> Iterator[list[bytes]]:
    """As `_lines`, those of `size` bytes at a time."""
    rest = b""
    while offset < end:
        block = os.pread(descriptor, min(size, end - offset), offset)
        if not block:
            return
        offset += len(block)
        *whole, rest = (rest + block).split(b"\n")
        if whole:
            yield whole
        else:
            size *= 2  # a long line is put together in few steps
