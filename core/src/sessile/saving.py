"""Saving a session to one file and reading it back, in our own safe format whatever the file is called.

The file is JSON Lines: a first line that says what it is, one line for each message that counts, and a last line with
their number and a SHA-256 of all before it, so that a file that was cut or altered is refused. No pickle, ever.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from sessile.encoding import JSON, from_json, json_value, to_json
from sessile.errors import InvalidInput, SessileError, UnsafeFile
from sessile.handle import Handle
from sessile.lineage import chunks, reverted
from sessile.log import Change, Draft, Entry, Header

FORMAT = 1


@attrs.frozen
class SavedSession:
    """What a file holds."""

    session_id: str
    user_id: str
    about: dict[str, Any]
    drafts: list[Draft]


async def save(h: Handle, path: str | os.PathLike[str]) -> Path:
    """Write the session to a file, whole or not at all; folders are made as needed. Returns the path."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    header = await h.refresh()
    digest = hashlib.sha256()
    count = 0
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_hashed(_first_line(h, header), digest))
            for piece in chunks(header.segments):
                entries = await h.read(piece.session_id, piece.start, piece.stop or 0, "message")
                for entry in entries:
                    file.write(_hashed(_message_line(entry), digest))
                count += len(entries)
            file.write(to_json({"end": count, "sha256": digest.hexdigest()}).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return target


def _first_line(h: Handle, header: Header) -> str:
    agent = getattr(h.session, "_agent", None)
    about = {
        "title": header.title,
        "metadata": header.metadata,
        "state": header.state,
        "created_at": header.created_at,
        "agent": {"name": agent.name, "instructions": agent.instructions} if agent else None,
    }
    return to_json({"sessile": FORMAT, "session_id": header.session_id, "user_id": header.user_id, "about": about})


def _message_line(entry: Entry) -> str:
    kept = {"id": entry.id, "time": entry.time, "turn": entry.turn, "message": entry.body}
    return to_json({name: value for name, value in kept.items() if value is not None})


def _hashed(line: str, digest: Any) -> bytes:
    data = line.encode() + b"\n"
    digest.update(data)
    return data


def read_saved(path: str | os.PathLike[str]) -> SavedSession:
    """Read and check a saved file. FileNotFoundError where there is none, `UnsafeFile` for anything but our own format."""
    with open(path, "rb") as file:
        start = file.read(2)
        if start[:1] != b"{":
            what = "a pickle" if start[:1] == b"\x80" else "no saved session"
            raise UnsafeFile(
                f"{os.fspath(path)!r} is {what}: only sessile's own format is read, because loading a pickle would run the "
                "code in it. Save the session anew with session.save(path)"
            )
        file.seek(0)
        lines = list(_checked_lines(file, os.fspath(path)))
    first = lines[0]
    drafts = [Draft("message", line["message"], id=line["id"], turn=line.get("turn"), time=line["time"]) for line in lines[1:]]
    return SavedSession(first["session_id"], first["user_id"], first["about"], drafts)


def _checked_lines(file: Any, path: str) -> Iterator[dict[str, JSON]]:
    digest = hashlib.sha256()
    previous: bytes | None = None
    count = -2
    for line in file:
        if previous is not None:
            digest.update(previous)
            data = _line(previous, path)
            if count == -2 and data.get("sessile") != FORMAT:
                raise UnsafeFile(f"{path!r} is of format {data.get('sessile')!r}, not {FORMAT}: use the version that wrote it")
            yield data
        previous = line
        count += 1
    last = _line(previous or b"", path)
    if last.get("end") != count or last.get("sha256") != digest.hexdigest():
        raise UnsafeFile(f"{path!r} was cut or altered since it was saved: its check sum does not fit. Use another copy")


def _line(line: bytes, path: str) -> dict[str, JSON]:
    try:
        data = from_json(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise UnsafeFile(f"{path!r} is not a saved session, or was cut: {line[:40]!r} is no line of one")
    return data


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
