"""Our own safe file format, whatever a file is called: JSON Lines with a check sum in the last line. No pickle, ever.

The first line says what the file is, the last one how many lines are between them and a SHA-256 of all before it, so that
a file that was cut or altered is refused before anything of it is used.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sessile.drive.faces import Face
from sessile.errors import InvalidInput, UnsafeFile
from sessile.log.encoding import JSON, from_json, to_json

FORMAT = 1


async def write_lines(
    face: Face, path: str | os.PathLike[str], first: dict[str, JSON], pages: AsyncIterator[Sequence[str]]
) -> Path:
    """Write a file, whole or not at all, and return its path. Folders are made as needed.

    A link is followed, and a file that is there is replaced. A device, a pipe or an open file under /dev/fd is no file to
    replace: the lines go straight into it. `InvalidInput` for a folder, or what is no path.
    """
    target = file_path(path)
    resolved = Path(os.path.realpath(target))
    found = status(target)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise InvalidInput(f"{str(target)!r} is a folder: name a file in it")
    if found is None or (stat.S_ISREG(found.st_mode) and found == status(resolved)):
        await _replace(face, resolved, first, pages)
    else:  # a pipe may wait for its reader for ever: whoever is cancelled does not
        with await face.call(open, target, "ab", 0) as file:
            await _write(face.call, file, first, pages)
    return target


def file_path(path: object) -> Path:
    """The path that a caller passed; `InvalidInput` for what cannot be one."""
    if not isinstance(path, (str, os.PathLike)):
        raise InvalidInput(f"a file's path is a string or a path, not {type(path).__name__} ({path!r:.60})")
    text = os.fspath(path)
    if not text or "\0" in text:
        raise InvalidInput(f"{text!r} is no path of a file: it is empty, or has a NUL")
    return Path(text)


def status(path: Path) -> os.stat_result | None:
    """What a file is; None where there is none. `InvalidInput` for a path that the system cannot have."""
    try:
        return os.stat(path)
    except FileNotFoundError:  # or a link to a file that is not there yet
        return None
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
            raise InvalidInput(f"{str(path)[:60]!r} is no path of a file ({error.strerror}): choose another") from error
        raise


async def _replace(face: Face, target: Path, first: dict[str, JSON], pages: AsyncIterator[Sequence[str]]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:40]}.")
    try:
        with os.fdopen(handle, "wb", 0) as file:
            await _write(face.settle, file, first, pages)
            await face.settle(os.fsync, file.fileno())
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


async def _write(
    call: Callable[..., Awaitable[Any]], file: io.FileIO, first: dict[str, JSON], pages: AsyncIterator[Sequence[str]]
) -> None:
    """Write all lines. call: makes the calls that may wait for the disk, or for whoever reads a pipe."""
    digest = hashlib.sha256()
    count = 0
    await call(_write_all, file, _hashed([to_json({"sessile": FORMAT, **first})], digest))
    async for lines in pages:
        await call(_write_all, file, _hashed(lines, digest))
        count += len(lines)
    await call(_write_all, file, to_json({"end": count, "sha256": digest.hexdigest()}).encode() + b"\n")


def _write_all(file: io.FileIO, data: bytes) -> None:
    while data:
        data = data[file.write(data) :]


def _hashed(lines: Sequence[str], digest: Any) -> bytes:
    data = b"".join(line.encode() + b"\n" for line in lines)
    digest.update(data)
    return data


def checked(path: str | os.PathLike[str]) -> dict[str, JSON]:
    """The first line of a file that is sound; `UnsafeFile` for anything else. FileNotFoundError where there is none."""
    target = file_path(path)
    name = str(target)
    found = status(target)
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise InvalidInput(f"{name!r} is a folder: name a file in it")
    with open(target, "rb") as file:
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
