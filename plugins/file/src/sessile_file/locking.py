"""One writer at a time in a folder, among threads and processes: a lock on the file `lock` in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sessile.errors import LockTimeout

try:
    import fcntl
except ImportError:  # Windows, where a folder whose lock is held cannot be removed
    fcntl = None  # type: ignore[assignment]

_POLL = 0.002  # seconds between two attempts


@contextmanager
def locked(folder: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of a folder. FileNotFoundError where there is no folder, `LockTimeout` after `timeout` seconds."""
    if fcntl is None:
        with _file_locked(folder, timeout):
            yield
        return
    descriptor = _acquire(str(folder / "lock"), time.monotonic() + timeout, folder, timeout)
    try:
        yield
    finally:
        os.close(descriptor)  # which lets go of the lock


def _acquire(path: str, give_up: float, folder: Path, timeout: float) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            while not _taken(descriptor):
                if time.monotonic() > give_up:
                    raise _timed_out(folder, timeout)
                time.sleep(_POLL)
            if _is_file_at(path, descriptor):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the folder was removed while this waited, and may have been made anew


def _taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_file_at(path: str, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


@contextmanager
def _file_locked(folder: Path, timeout: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    if not folder.is_dir():
        raise FileNotFoundError(folder)
    try:
        with FileLock(folder / "lock", timeout=timeout, poll_interval=_POLL):
            yield
    except Timeout as error:
        raise _timed_out(folder, timeout) from error


def _timed_out(folder: Path, timeout: float) -> LockTimeout:
    return LockTimeout(
        f"session folder {folder.name!r} has been locked by another process for {timeout} s: try again, or raise lock_timeout"
    )
