"""A lock that a forked child can take: the thread that held it when the process was forked is not there."""

from __future__ import annotations

import os
import threading


class Lock:
    """A `threading.Lock` for `with`, which is free in a forked child whoever held it in the parent."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock, self._process = threading.Lock(), os.getpid()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
