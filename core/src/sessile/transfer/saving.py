"""Saving what was said and the state to a file, and reading it back. The whole log is exported by `archives.py`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from sessile.drive.faces import Blocking, run
from sessile.engine.committing.heirs import record_of
from sessile.engine.handle import Handle
from sessile.engine.state import state_draft
from sessile.errors import InvalidInput, SessileError, SessionExists
from sessile.graph.integrity import verify
from sessile.graph.replacing import emptied
from sessile.log.encoding import JSON, copied, from_json, json_value, same, to_json
from sessile.log.entries import MESSAGE, Entry, Segment
from sessile.log.header import Header
from sessile.log.ids import check_id, owner_of
from sessile.log.lineage import pieces
from sessile.log.stamping import Change, Draft
from sessile.plugins.discovery import installed
from sessile.store.memory import HeldSession
from sessile.transfer.files import checked, lines_between, write_lines


@attrs.frozen
class SavedSession:
    """What a saved file holds."""

    session_id: str
    user_id: str
    about: dict[str, Any]
    drafts: list[Draft]


Progress = Callable[[int, int], None]  # called with how many entries are done, and of how many


def no_progress(done: int, total: int) -> None:
    """The default `progress`: does nothing."""


async def save(h: Handle, path: str | os.PathLike[str]) -> Path:
    """Write the messages that count and the state to a file, whole or not at all. Returns the path.

    Folders are made as needed. `export` keeps snapshots and all that was reverted as well.
    """
    return await write_messages(h, path, no_progress)


async def write_messages(h: Handle, path: str | os.PathLike[str], progress: Progress) -> Path:
    """As `save`. progress: called with the number of messages written, and of all."""
    header = await h.refresh()
    agent = getattr(h.session, "_agent", None)
    about = {
        "title": header.title,
        "app": header.app,
        "metadata": header.metadata,
        "state": header.state,
        "created_at": header.created_at,
        "agent": {"name": agent.name, "instructions": agent.instructions} if agent else None,
    }
    first = {"session_id": header.session_id, "user_id": header.user_id, "about": about}
    return await write_lines(h.face, path, first, _messages(h, header, progress))


async def _messages(h: Handle, header: Header, progress: Progress) -> AsyncIterator[list[str]]:
    done = 0
    for part in await h.lineage(header):
        for piece in pieces(part):
            lines = [_message_line(entry) for entry in await h.read(piece, MESSAGE)]
            yield lines
            done += len(lines)
            progress(done, header.count)


def _message_line(entry: Entry) -> str:
    kept = {"id": entry.id, "time": entry.time, "turn": entry.turn, "message": entry.body, "raw": entry.raw}
    return to_json({name: value for name, value in kept.items() if value is not None})


def read_saved(path: str | os.PathLike[str]) -> SavedSession:
    """Read and check a saved file. FileNotFoundError where there is none, `UnsafeFile` for anything but our own format."""
    first = checked(path)
    drafts = [
        Draft(MESSAGE, line["message"], id=line["id"], turn=line.get("turn"), time=line["time"], raw=line.get("raw"))
        for line in lines_between(path)
    ]
    return SavedSession(first["session_id"], first["user_id"], first["about"], drafts)


async def restore(h: Handle, saved: SavedSession, *, new: bool = False) -> None:
    """Make a saved file's messages and state the session's, in one commit.

    Where the session has others, a snapshot "before load" leads back to them.
    new: `SessionExists` where there is a session already.
    """

    async def prepare(header: Header) -> Change | None:
        if new and header.version:
            raise SessionExists(f"session {h.session_id!r} exists already: delete it first, or import under another session_id")
        return await _restored(h, header, saved)

    await h.commit_after(prepare)


async def _restored(h: Handle, header: Header, saved: SavedSession) -> Change | None:
    present = [entry.id for entry in await h.entries(header, MESSAGE)]
    wanted = [draft.id for draft in saved.drafts]
    state = saved.about.get("state") or {}
    fields: dict[str, JSON] = {}
    if not header.version:
        fields.update({k: saved.about[k] for k in ("title", "metadata", "created_at") if saved.about.get(k)})
        if h.app is None and (app := saved.about.get("app")):
            fields["app"] = check_id(app, "name of an application")
    if wanted[: len(present)] == present:
        drafts = saved.drafts[len(present) :]
    else:
        back = await emptied(h, header, "before load")
        drafts = [*back.drafts, *saved.drafts]
        fields.update({**back.fields, "count": len(saved.drafts)})
    if not same(state, header.state):
        drafts = [*drafts, state_draft(state)]
        fields["state"] = state
    return Change(drafts, fields) if drafts or not header.version else None


async def to_dict(h: Handle) -> dict[str, Any]:
    """The session as JSON values: "header", all "entries" of its own log, and those of each log that it "inherited".

    `Session.from_dict` reads it.
    """
    found = await h.commits.load(h.session_id) if _held(h) else None
    header = found or await h.refresh()
    if h.commits.can.verbatim is None:  # who uses it alone there does not use this copy
        header = attrs.evolve(header, lease=None)
    data = {"header": copied(header.to_dict()), "entries": await _plain(h, header, header.depth, header.head)}
    if header.ancestors and not h.commits.can.own_log_only:
        data["inherited"] = [await _plain(h, header, depth, row.stop) for depth, row in enumerate(header.ancestors)]
    return data


async def _plain(h: Handle, header: Header, depth: int, stop: int) -> list[JSON]:
    if (held := _held(h)) is not None:  # as much as is kept of it
        found = (await h.commits.ask(held.entries, header.log_at(depth)))[:stop]
    else:
        found = await h.read(Segment(depth, 0, stop))
    return [from_json(entry.json) for entry in found]


def _held(h: Handle) -> HeldSession | None:
    """The store of a handle, where that shows a session as it is stored."""
    return h.store if h.commits.can.verbatim else None  # type: ignore[return-value]  # or its methods in threads


def from_dict(data: Any) -> tuple[Header, HeldSession]:
    """The session in what `to_dict` returned, in a store of its own; `InvalidInput` for anything else, or what was altered."""
    try:
        plain = json_value(data, "session")
        header = Header.from_dict(plain["header"])
        logs = [*plain.get("inherited", ()), plain["entries"]]
        entries = [[Entry.from_dict(entry) for entry in log] for log in logs]
    except (KeyError, TypeError, SessileError) as error:
        raise InvalidInput(f"not a session's to_dict(): {data!r:.60} ({error})") from error
    held = _store_of(header, entries)
    if not (held.own_log_only or held.verbatim):  # else it is not whole
        verified = run(verify(Handle(Blocking(), held, header.session_id, plugins=installed())))
        if not verified:
            raise InvalidInput(f"this session's to_dict() was cut or altered: {verified.problem}")
    return header, held


def _store_of(header: Header, logs: Sequence[Sequence[Entry]]) -> HeldSession:
    held = HeldSession()
    held.verbatim, held.own_log_only = header.hidden, len(logs) <= len(header.ancestors)
    for row, entries in zip(header.ancestors, logs[:-1], strict=False):
        above = Header(session_id=owner_of(row.log), log=row.log, version=1)  # deleted, and this session has inherited from it
        held.commit(above.session_id, expected=0, entries=entries, changes=above.to_dict())
        held.delete(above.session_id, expected=above.version)
        if row.stop:
            record = Header(session_id=record_of(row.log), log=row.log, version=1, state={header.log: row.stop})
            held.commit(record.session_id, expected=0, entries=(), changes=record.to_dict())
    if header.version:
        held.commit(header.session_id, expected=0, entries=logs[-1], changes=header.to_dict())
    return held
