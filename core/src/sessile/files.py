"""Our own safe file format, whatever a file is called: JSON Lines with a check sum in the last line. No pickle, ever.

The first line says what the file is, the last one how many lines are between them and a SHA-256 of all before it, so that
a file that was cut or altered is refused before anything of it is used.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import IO, Any

from sessile.encoding import JSON, from_json, to_json
from sessile.errors import InvalidInput, UnsafeFile

FORMAT = 1


async def write_lines(path: str | os.PathLike[str], first: dict[str, JSON], lines: AsyncIterator[str]) -> Path:
    """Write a file, whole or not at all, and return its path. Folders are made as needed.

    A link is followed, and a file that is there is replaced. A device, a pipe or an open file under /dev/fd is no file to
    replace: the lines go straight into it. `InvalidInput` for a folder, or what is no path.
    """
    target = file_path(path)
    resolved = Path(os.path.realpath(target))
    found = _status(target)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise InvalidInput(f"{str(target)!r} is a folder: name a file in it")
    if found is None or (stat.S_ISREG(found.st_mode) and found == _status(resolved)):
        await _replace(resolved, first, lines)
    else:
        with open(target, "ab") as file:
            await _write(file, first, lines)
    return target


def file_path(path: object) -> Path:
    """The path that a caller passed; `InvalidInput` for what cannot be one."""
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInput(f"a file's path is a string or a path, not {type(path).__name__} ({path!r:.60})")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InvalidInput(f"{text!r} is no path of a file: it is empty, or has a NUL")
    return Path(text)


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:  # or a link to a file that is not there yet
        return None


async def _replace(target: Path, first: dict[str, JSON], lines: AsyncIterator[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    try:
        with os.fdopen(handle, "wb") as file:
            await _write(file, first, lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


async def _write(file: IO[bytes], first: dict[str, JSON], lines: AsyncIterator[str]) -> None:
    digest = hashlib.sha256()
    count = 0
    file.write(_hashed(to_json({"sessile": FORMAT, **first}), digest))
    async for line in lines:
        file.write(_hashed(line, digest))
        count += 1
    file.write(to_json({"end": count, "sha256": digest.hexdigest()}).encode() + b"\n")


def _hashed(line: str, digest: Any) -> bytes:
    data = line.encode() + b"\n"
    digest.update(data)
    return data


def checked(path: str | os.PathLike[str]) -> dict[str, JSON]:
    """The first line of a file that is sound; `UnsafeFile` for anything else. FileNotFoundError where there is none."""
    name = str(file_path(path))
    with open(name, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UnsafeFile(f"{name!r} is no regular file, which is checked before it is read: copy what is in it to a file")
        start = file.read(2)
        if start[:1] != b"{":
            what = "a pickle" if start[:1] == b"\x80" else "no saved session"
            raise UnsafeFile(
                f"{name!r} is {what}: only sessile's own format is read, because loading a pickle would run the code in it. "
                "Save the session anew with session.save(path)"
            )
        file.seek(0)
        digest, count, line, first = hashlib.sha256(), -1, b"", b""
        for following in file:
            if line:
                digest.update(line)
            first, line, count = first or line, following, count + 1
    about = _parsed(first or line, name)
    if about.get("sessile") != FORMAT:
        raise UnsafeFile(f"{name!r} is of format {about.get('sessile')!r}, not {FORMAT}: use the version that wrote it")
    last = _parsed(line, name)
    if last.get("end") != count - 1 or last.get("sha256") != digest.hexdigest():
        raise UnsafeFile(f"{name!r} was cut or altered since it was saved: its check sum does not fit. Use another copy")
    return about


def lines_between(path: str | os.PathLike[str]) -> Iterator[dict[str, JSON]]:
    """The lines between the first and the last, one by one."""
    with open(path, "rb") as file:
        next(file)
        line = next(file, b"")
        for following in file:
            yield _parsed(line, os.fspath(path))
            line = following


def _parsed(line: bytes, name: str) -> dict[str, JSON]:
    try:
        data = from_json(line)
    except ValueError:
        data = None
    if not isinstance(data, dict):
        raise UnsafeFile(f"{name!r} is not a saved session, or was cut: {line[:40]!r} is no line of one")
    return data
