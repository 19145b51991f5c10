"""Reading and writing files by their descriptors, making it durable, and what goes wrong with it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from sessile.errors import SessileError, StoreError

P = ParamSpec("P")
T = TypeVar("T")


def explained(method: Callable[P, T]) -> Callable[P, T]:
    """A method of the store that raises what the file system raises as `StoreError`."""

    @functools.wraps(method)
    def explained(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(*args, **kwargs)
        except SessileError:
            raise
        except OSError as error:
            raise StoreError(f"the file store cannot use {error.filename or 'its folder'}: {error.strerror or error}") from error

    return explained


@contextmanager
def opened(path: str | Path, flags: int = os.O_RDONLY) -> Iterator[int]:
    """The descriptor of a file, which only its owner may read where it is made."""
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def read_from(descriptor: int, start: int, stop: int) -> bytes:
    """The bytes of a range."""
    return os.pread(descriptor, stop - start, start) if stop > start else b""


def write_at(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of it."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def sync(descriptor: int) -> None:
    """Make what was written durable (macOS has no fdatasync)."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def sync_folder(path: Path) -> None:
    """Make names that were added to or removed from a folder durable."""
    with opened(path) as descriptor:
        os.fsync(descriptor)


def replace(path: Path, data: bytes, *, durable: bool) -> None:
    """Replace a file by another content, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with opened(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as descriptor:
        write_at(descriptor, data, 0)
        if durable:
            sync(descriptor)
    os.replace(temporary, path)
