"""One writer at a time in a folder, among threads and processes: a lock on the file `lock` in it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sessile.errors import LockTimeout, NotInstalled

try:
    import fcntl
except ImportError as error:  # where a folder whose lock is held cannot be removed either
    raise NotInstalled(
        "the file store is for Linux and macOS: Windows lacks flock and pread. Use sqlite:///chat.db or another store"
    ) from error

_POLL = 0.002  # seconds between two attempts
_opened: set[int] = set()  # descriptors of locks: a child that is forked must not hold on to them when this process dies


def _close(descriptor: int) -> None:
    _opened.discard(descriptor)
    os.close(descriptor)


def _close_all() -> None:
    while _opened:
        os.close(_opened.pop())


os.register_at_fork(after_in_child=_close_all)


@contextmanager
def locked(file: Path, timeout: float) -> Iterator[None]:
    """Hold the lock of a folder, a file in it. FileNotFoundError where there is none, `LockTimeout` after `timeout` seconds."""
    descriptor = _acquire(str(file), time.monotonic() + timeout, timeout)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child that was forked meanwhile has the file open, too
        _close(descriptor)


def _acquire(path: str, give_up: float, timeout: float) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        _opened.add(descriptor)
        try:
            while not _taken(descriptor):
                if time.monotonic() > give_up:
                    raise _timed_out(path, timeout)
                time.sleep(_POLL)
            if _is_file_at(path, descriptor):
                return descriptor
        except BaseException:
            _close(descriptor)
            raise
        _close(descriptor)  # the folder was removed while this waited, and may have been made anew


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


def _timed_out(path: str, timeout: float) -> LockTimeout:
    folder = Path(path).parent.name
    return LockTimeout(
        f"session folder {folder!r} has been locked by another process for {timeout} s: try again, or raise lock_timeout"
    )
