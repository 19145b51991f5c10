"""Exporting a session with its whole log, snapshots and hashes, and importing it into any store.

An archive is one file (see `files.py`): a first line with the header and the lengths of its logs, then every entry of
those as it is stored: first what the session inherited, of each log just that part, then its own.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import attrs

from sessile.engine.committing.commits import Commits
from sessile.engine.handle import Handle
from sessile.errors import SessileError, SessionExists, UnsafeFile
from sessile.log.encoding import JSON
from sessile.log.entries import Entry, Segment
from sessile.log.header import STATUSES, Ancestor, Header
from sessile.log.ids import check_id, new_log_id
from sessile.log.lineage import pieces
from sessile.transfer.files import checked, lines_between, write_lines
from sessile.transfer.saving import Progress, no_progress, read_saved, restore, write_messages
from sessile.transfer.transplant import BATCH, Transplant


@attrs.frozen
class Archive:
    """What an archive holds. lengths: how many entries of each log, the session's own last."""

    header: Header
    lengths: list[int]
    entries: Callable[[], Iterable[dict[str, JSON]]]

    def logs(self) -> Iterator[Iterator[list[Entry]]]:
        """The logs in order, each in pages; `UnsafeFile` where an entry is not the one that belongs there."""
        lines = iter(self.entries())
        for depth, length in enumerate(self.lengths):
            yield self._pages(lines, depth, length)
        if next(lines, None) is not None:
            raise UnsafeFile(f"there are more than {sum(self.lengths)} entries: use another copy")

    def _pages(self, lines: Iterator[dict[str, JSON]], depth: int, length: int) -> Iterator[list[Entry]]:
        last, head = "", 0
        while head < length:
            entries = [Entry.from_dict(line) for line in islice(lines, min(BATCH, length - head))]
            for entry in entries:
                if (entry.position, entry.prev) != (head, last):
                    raise UnsafeFile(f"entry {head} of log {depth} was altered, or the one before it: use another copy")
                last, head = entry.hash, head + 1
            if not entries:
                raise UnsafeFile(f"entry {head} of log {depth} is missing: use another copy")
            yield entries
        if depth == len(self.lengths) - 1 and last != self.header.hash:
            raise UnsafeFile("the last entry is not the one that the header names: use another copy")


# -- out


async def export(
    h: Handle, path: str | os.PathLike[str], *, lineage: Literal["kept", "resolved"] = "kept", progress: Progress = no_progress
) -> Path:
    """Write the session to a file of its own, whole or not at all. Returns the path. `Session.load` reads it.

    lineage: "kept" for every entry as it is stored, with what was inherited, snapshots, what was reverted, and hashes;
    "resolved" for what counts now only, as `save`. progress: called with the number of entries written, and of all.
    """
    if lineage == "resolved":
        return await write_messages(h, path, progress)
    header = await h.refresh()
    parts = [Segment(depth, 0, row.stop) for depth, row in enumerate(header.ancestors)]
    parts.append(Segment(header.depth, 0, header.head))
    first = {"header": header.to_dict(), "lengths": [part.stop for part in parts]}
    return await write_lines(h.face, path, first, _lines(h, parts, progress))


async def _lines(h: Handle, parts: list[Segment], progress: Progress) -> AsyncIterator[list[str]]:
    done, total = 0, sum(part.stop or 0 for part in parts)
    for part in parts:
        for piece in pieces(part, BATCH):
            lines = [entry.json for entry in await h.read(piece)]
            yield lines
            done += len(lines)
            progress(done, total)


# -- in


def read_archive(path: str | os.PathLike[str]) -> Archive | None:
    """What an exported file holds, once all of it was checked; None for a file that `save` wrote.

    Raises FileNotFoundError if there is none, `UnsafeFile` for a truncated or altered file, or one sessile did not write.
    """
    first = checked(path)
    if "header" not in first:
        return None
    try:
        archive = _archive(first, lambda: lines_between(path))
        for log in archive.logs():
            for _ in log:
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
    check_id(header.session_id)
    check_id(header.user_id, "user id")
    if header.app:
        check_id(header.app, "name of an application")
    if header.status not in STATUSES or not _is_sound(header):
        raise UnsafeFile(f"the header names what is not there: {header.status!r}, {header.lineage}")
    expected = [*(row.stop for row in header.ancestors), header.head]
    if first["lengths"] != expected:
        raise UnsafeFile(f"the lengths of the logs are {first['lengths']}, not {expected}")
    return Archive(header, expected, entries)


def _is_sound(header: Header) -> bool:
    """Are the ranges and snapshots that a header names in its logs?"""
    for depth, start, stop in header.segments if header.head else ():
        if not 0 <= start < (stop or 0) or not header.holds(depth, start) or not header.holds(depth, (stop or 0) - 1):
            return False
    return all(at is None or header.holds(*at) for at in (header.last_snapshot, header.mark, *header.automatic))


async def restore_archive(
    commits: Commits,
    archive: Archive,
    session_id: str | None = None,
    *,
    user_id: str | None = None,
    app: str | None = None,
    progress: Progress = no_progress,
) -> str:
    """Store an archived session, and return its id. `SessionExists` where that is taken; nothing is written then.

    session_id, user_id, app: default those it had. progress: called with the number of entries stored, and of all.
    """
    header = archive.header if app is None else attrs.evolve(archive.header, app=app)
    session_id = header.session_id if session_id is None else check_id(session_id)
    user_id = header.user_id if user_id is None else check_id(user_id, "user id")
    await check_free(commits, session_id)
    if not header.version:  # it was exported before anything was stored
        return session_id
    ancestors: list[Ancestor] = []
    async with Transplant(commits) as transplant:
        for depth, pages in enumerate(archive.logs()):
            counted = _counted(pages, sum(archive.lengths[:depth]), sum(archive.lengths), progress)
            if depth == header.depth:
                await transplant.write_session(header, counted, ancestors, session_id=session_id, user_id=user_id)
            else:
                stop = archive.lengths[depth]
                log = await transplant.write_log(counted, user_id) if stop else new_log_id(session_id)
                ancestors.append(Ancestor(log, stop))
    return session_id


async def check_free(commits: Commits, session_id: str) -> None:
    """`SessionExists` where a session has this id, whosever it is."""
    if (found := await commits.load(session_id)) is not None and not found.hidden:
        raise SessionExists(f"session {session_id!r} exists already: delete it first, or import under another session_id")


async def _counted(pages: Iterable[list[Entry]], done: int, total: int, progress: Progress) -> AsyncIterator[list[Entry]]:
    for entries in pages:
        yield entries
        progress(done + entries[-1].position + 1, total)


async def load(h: Handle, path: str | os.PathLike[str], *, new: bool = False, progress: Progress = no_progress) -> None:
    """Make what a file holds this session's: what `save` wrote any session's (new: a new one's), `export` a new one's only."""
    archive = await h.face.call(read_archive, path)
    if archive is None:
        saved = await h.face.call(read_saved, path)
        await restore(h, saved, new=new)
        progress(len(saved.drafts), len(saved.drafts))  # they are one commit
    else:
        await restore_archive(h.commits, archive, h.session_id, user_id=h.user_id, app=h.app, progress=progress)
        await h.refresh()
