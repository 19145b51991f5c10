"""Files that commands write and read: none is overwritten unasked, and "-" is standard output or input."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

import click

from sessile.errors import InvalidInput, UnsafeFile

STANDARD = "-"


def refuse_existing(path: Path, how: str) -> None:
    """`InvalidInput` where a file is there; `how`: what replaces it."""
    if path.is_file():
        raise InvalidInput(f"{str(path)!r} exists already: choose another name, or replace it with {how}")


@contextmanager
def written_to(name: str, *, force: bool) -> Iterator[Path]:
    """The path to write, for a file's name. Standard output gets what was written there once all of it is."""
    if name != STANDARD:
        if not force:
            refuse_existing(Path(name), "--force")
        yield Path(name)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "session.jsonl")
        yield path
        with path.open("rb") as file:
            _copy(file, click.get_binary_stream("stdout"))


@contextmanager
def read_from(name: str) -> Iterator[Path]:
    """The path of a regular file with what a file, a pipe or standard input holds: it is read more than once."""
    if name != STANDARD and Path(name).is_file():
        yield Path(name)
        return
    with TemporaryDirectory() as folder:
        path = Path(folder, "session.jsonl")
        with click.open_file(name, "rb") as source, path.open("wb") as file:
            _copy(source, file)
        try:
            yield path
        except UnsafeFile as error:
            raise UnsafeFile(str(error).replace(repr(str(path)), "standard input" if name == STANDARD else repr(name))) from error


def _copy(source: IO[bytes], target: IO[bytes]) -> None:
    shutil.copyfileobj(source, target)
    target.flush()
