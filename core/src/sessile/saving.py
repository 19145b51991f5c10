"""Saving what was said and the state to a file, and reading it back. The whole log is exported by `archives.py`."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import attrs

from sessile.encoding import JSON, from_json, json_value, to_json
from sessile.errors import InvalidInput, SessileError
from sessile.files import checked, lines_between, write_lines
from sessile.handle import Handle
from sessile.lineage import chunks, reverted
from sessile.log import Change, Draft, Entry, Header


@attrs.frozen
class SavedSession:
    """What a saved file holds."""

    session_id: str
    user_id: str
    about: dict[str, Any]
    drafts: list[Draft]


async def save(h: Handle, path: str | os.PathLike[str]) -> Path:
    """Write the messages that count and the state to a file, whole or not at all. Returns the path.

    Folders are made as needed. `export` keeps snapshots and all that was reverted as well.
    """
    header = await h.refresh()
    agent = getattr(h.session, "_agent", None)
    about = {
        "title": header.title,
        "metadata": header.metadata,
        "state": header.state,
        "created_at": header.created_at,
        "agent": {"name": agent.name, "instructions": agent.instructions} if agent else None,
    }
    first = {"session_id": header.session_id, "user_id": header.user_id, "about": about}
    return await write_lines(path, first, _messages(h, header))


async def _messages(h: Handle, header: Header) -> AsyncIterator[str]:
    for piece in chunks(header.segments):
        for entry in await h.read(piece.session_id, piece.start, piece.stop or 0, "message"):
            yield _message_line(entry)


def _message_line(entry: Entry) -> str:
    kept = {"id": entry.id, "time": entry.time, "turn": entry.turn, "message": entry.body}
    return to_json({name: value for name, value in kept.items() if value is not None})


def read_saved(path: str | os.PathLike[str]) -> SavedSession:
    """Read and check a saved file. FileNotFoundError where there is none, `UnsafeFile` for anything but our own format."""
    first = checked(path)
    drafts = [
        Draft("message", line["message"], id=line["id"], turn=line.get("turn"), time=line["time"]) for line in lines_between(path)
    ]
    return SavedSession(first["session_id"], first["user_id"], first["about"], drafts)


async def restore(h: Handle, saved: SavedSession) -> None:
    """Make a saved file's messages and state the session's. What differs stays in the log and counts no more."""
    await h.commit_after(lambda header: _restored(h, header, saved))


async def _restored(h: Handle, header: Header, saved: SavedSession) -> Change | None:
    present = [entry.id for entry in await h.entries(header, "message")]
    wanted = [draft.id for draft in saved.drafts]
    fields: dict[str, JSON] = {"state": saved.about.get("state") or {}}
    if not header.version:
        fields.update({k: saved.about[k] for k in ("title", "metadata", "created_at") if saved.about.get(k)})
    kept = len(present) if wanted[: len(present)] == present else None
    if kept == len(wanted) and header.version and header.state == fields["state"]:
        return None
    return _restoring(header, saved, kept, fields)


def _restoring(header: Header, saved: SavedSession, kept: int | None, fields: dict[str, JSON]) -> Change:
    state = fields["state"]
    if kept is not None and header.state == state:
        return Change(saved.drafts[kept:], fields)
    if kept is not None:
        return Change([*saved.drafts[kept:], Draft("state", {"set": state, "delete": [], "state": state})], fields)
    back = reverted(header, (), count=0, state=state)
    return Change([*back.drafts, *saved.drafts], {**back.fields, **fields, "count": len(saved.drafts)})


async def to_dict(h: Handle) -> dict[str, Any]:
    """The session as JSON values: "header" and all "entries" of its own log. `Session.from_dict` reads it."""
    header = await h.refresh()
    entries = await h.read(h.session_id, 0, header.head)
    return {"header": header.to_dict(), "entries": [from_json(entry.json) for entry in entries]}


def from_dict(data: Any) -> tuple[Header, list[Entry]]:
    """The header and entries in what `to_dict` returned; `InvalidInput` for anything else."""
    try:
        plain = json_value(data, "session")
        return Header.from_dict(plain["header"]), [Entry.from_dict(entry) for entry in plain["entries"]]
    except (KeyError, TypeError, SessileError) as error:
        raise InvalidInput(f"not a session's to_dict(): {data!r:.60} ({error})") from error
