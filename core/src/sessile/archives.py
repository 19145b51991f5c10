"""Exporting a session with its whole log, snapshots and hashes, and importing it into any store.

An archive is one file (see `files.py`): a first line with the header and the logs it speaks of, then every entry of
those as it is stored: first what the session inherited, of each log just that part, then its own. What was inherited
becomes hidden logs where it is imported, as when a session is deleted that others were forked from.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import attrs

from sessile.deletion import BATCH, HEIR, append_as_is
from sessile.drive import Face
from sessile.encoding import JSON
from sessile.errors import Conflict, InvalidInput, SessileError, SessionExists, UnsafeFile
from sessile.files import checked, lines_between, write_lines
from sessile.handle import Handle
from sessile.ids import check_id, new_id
from sessile.log import DELETED, Entry, Header, Segment
from sessile.saving import read_saved, restore, save
from sessile.store import Store

Progress = Callable[[int, int], None]  # called with how many entries are done, and of how many


def _no_progress(done: int, total: int) -> None:
    pass


@attrs.frozen
class Archive:
    """What an archive holds. logs: (name, number of entries) of each log, the session's own last."""

    header: Header
    logs: list[tuple[str, int]]
    entries: Callable[[], Iterable[dict[str, JSON]]]

    @property
    def total(self) -> int:
        """How many entries there are in all."""
        return sum(length for _, length in self.logs)

    def __iter__(self) -> Iterator[tuple[int, list[Entry]]]:
        """(number of the log, some of its entries) in order; `UnsafeFile` where an entry is not the one that belongs there."""
        lines = iter(self.entries())
        for number, (log, length) in enumerate(self.logs):
            last, head = "", 0
            while head < length:
                entries = [Entry.from_dict(line) for line in islice(lines, min(BATCH, length - head))]
                for entry in entries:
                    if (entry.position, entry.prev) != (head, last):
                        raise UnsafeFile(f"entry {head} of {log!r} was altered, or the one before it: use another copy")
                    last, head = entry.hash, head + 1
                if not entries:
                    raise UnsafeFile(f"entry {head} of {log!r} is missing: use another copy")
                yield number, entries
        if next(lines, None) is not None:
            raise UnsafeFile(f"there are more than {self.total} entries: use another copy")


# -- out


async def export(h: Handle, path: str | os.PathLike[str], *, lineage: str = "kept", progress: Progress = _no_progress) -> Path:
    """Write the session to a file of its own, whole or not at all. Returns the path. `Session.load` reads it.

    lineage: "kept" for every entry as it is stored, with what was inherited, snapshots, what was reverted, and hashes;
    "resolved" for what counts now only, as `save`. progress: called with the number of entries written, and of all.
    """
    if lineage not in ("kept", "resolved"):
        raise InvalidInput(f"lineage is 'kept' or 'resolved', not {lineage!r}")
    if lineage == "resolved":
        return await save(h, path)
    header = await h.refresh()
    logs = await _logs(h, header)
    return await write_lines(path, {"header": header.to_dict(), "logs": logs}, _lines(h, logs, progress))


async def _logs(h: Handle, header: Header) -> list[tuple[str, int]]:
    """The logs that a session's entries speak of, and how many entries of each: as each fork's first entry tells."""
    needed: dict[str, int] = {}
    waiting = [h.session_id]
    for log in waiting:
        first = await h.read(log, 0, 1)
        for part in first[0].body.get("lineage", ()) if first and first[0].kind == "fork" else ():
            name = part["session_id"]
            if name not in needed:
                waiting.append(name)
            needed[name] = max(needed.get(name, 0), part["stop"])
    return [*reversed(needed.items()), (h.session_id, header.head)]


async def _lines(h: Handle, logs: list[tuple[str, int]], progress: Progress) -> AsyncIterator[str]:
    done, total = 0, sum(length for _, length in logs)
    for log, length in logs:
        for start in range(0, length, BATCH):
            for entry in await h.read(log, start, min(start + BATCH, length)):
                yield entry.json
                done += 1
            progress(done, total)


# -- in


def read_archive(path: str | os.PathLike[str]) -> Archive | None:
    """What an exported file holds, once all of it was checked; None for a file that `save` wrote.

    FileNotFoundError where there is none, `UnsafeFile` for one that was cut or altered, or is no file of ours.
    """
    first = checked(path)
    if "header" not in first:
        return None
    try:
        archive = _archive(first, lambda: lines_between(path))
        for _ in archive:
            pass
    except (KeyError, TypeError, ValueError, SessileError) as error:
        raise UnsafeFile(f"{os.fspath(path)!r} is not a session that was exported: {error}") from error
    return archive


def about(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Whose session a saved or exported file holds: session_id, user_id and what is known of the agent, or None."""
    first = checked(path)
    ids = first.get("header", first)
    return {"session_id": ids["session_id"], "user_id": ids["user_id"], "agent": first.get("about", {}).get("agent")}


def _archive(first: dict[str, JSON], entries: Callable[[], Iterable[dict[str, JSON]]]) -> Archive:
    header = Header.from_dict(first["header"])
    logs = [(str(name), int(length)) for name, length in first["logs"]]
    check_id(header.session_id)
    if logs[-1] != (header.session_id, header.head):
        raise UnsafeFile(f"the last log is {logs[-1]}, not that of session {header.session_id!r}")
    return Archive(header, logs, entries)


async def restore_archive(
    face: Face,
    store: Store,
    archive: Archive,
    session_id: str | None = None,
    *,
    user_id: str | None = None,
    progress: Progress = _no_progress,
) -> str:
    """Store an archived session, and return its id. `SessionExists` where that is taken; nothing is written then.

    session_id, user_id: default those it had. progress: called with the number of entries stored, and of all.
    Until its last commit the session is marked as deleted: one that is cut short is cleared away by who opens it next.
    """
    session_id = archive.header.session_id if session_id is None else check_id(session_id)
    if (found := await face.call(store.load, session_id)) is not None and found.status != DELETED:
        raise SessionExists(f"session {session_id!r} exists already: delete it first, or import under another session_id")
    names = [f"{HEIR}{new_id()}" for _ in archive.logs[:-1]]
    final = attrs.evolve(_renamed(archive, session_id, names), user_id=user_id or archive.header.user_id)
    if not final.version:  # it was exported before anything was stored
        return session_id
    begun = [
        Header(
            session_id=name, user_id=final.user_id, parent=above, root=final.root if above else "", created_at=final.created_at
        )
        for name, above in zip([*names, session_id], [None, *names], strict=True)
    ]
    begun[-1] = attrs.evolve(begun[-1], status=DELETED)
    try:
        for number in reversed(range(len(begun))):  # each names the one above it, so that all are found from the session
            begun[number] = await append_as_is(face, store, begun[number], [])
        done = 0
        for number, entries in archive:
            begun[number] = await append_as_is(face, store, begun[number], entries)
            done += len(entries)
            progress(done, archive.total)
        changes = {**final.to_dict(), "version": begun[-1].version + 1, "commit": begun[-1].commit}
        await face.settle(store.commit, session_id, expected=begun[-1].version, entries=[], changes=changes)
    except Conflict as conflict:
        raise SessionExists(f"session {session_id!r} was created by somebody else just now: nothing was imported") from conflict
    return session_id


def _renamed(archive: Archive, session_id: str, names: list[str]) -> Header:
    """The header that an archived session has when its logs are stored under other names."""
    header = archive.header
    renamed = {log: session_id for log, known in header.renamed.items() if known == header.session_id}
    renamed.update((log, name) for (log, _), name in zip(archive.logs, names, strict=False))
    lineage = header.lineage
    if session_id != header.session_id:  # its entries know its own log by the id it had
        renamed[header.session_id] = session_id
        lineage = (*header.segments, Segment(session_id, header.head))
    return attrs.evolve(
        header,
        session_id=session_id,
        lineage=lineage,
        lease=None,
        renamed=renamed,
        parent=names[-1] if names else None,
        root=names[0] if names else "",
    )


async def load(h: Handle, path: str | os.PathLike[str]) -> None:
    """Make what a file holds this session's: what `save` wrote any session's, what `export` wrote a new one's only."""
    archive = await h.face.call(read_archive, path)
    if archive is None:
        await restore(h, await h.face.call(read_saved, path))
    else:
        await restore_archive(h.face, h.store, archive, h.session_id, user_id=h.user_id)
