"""Finds what killed processes left in a store's folder: folders without a complete commit, and markers without a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sessile.errors import CorruptStore
from sessile_file.folder import Folder
from sessile_file.index import Index
from sessile_file.locking import locked


def clear_begun(path: Path, lock_timeout: float, *, repair: bool) -> int:
    """How many folders have nothing but a commit that was cut short; with `repair` they are removed."""
    begun = [folder for folder in _folders(path) if folder.is_begun()]
    for folder in begun if repair else ():
        with suppress(OSError), locked(folder.lock, lock_timeout):  # another user's may not be locked
            if folder.is_begun():  # nobody has gone on with it
                folder.log.unlink(missing_ok=True)
                folder.remove_if_empty()
    return len(begun)


def clear_markers(path: Path, index: Index, *, repair: bool) -> int:
    """How many markers name a session that is not there, or has another value by now; with `repair` they are removed."""
    count = 0
    for field, marker in index.markers():
        folder = Folder(path / marker.name)
        with suppress(CorruptStore, OSError):
            known = folder.refreshed(None)
            if known is None or index.marker(field, known.header) != marker:
                count += 1
                if repair:
                    index.unmark(marker)
    return count


def _folders(path: Path) -> Iterator[Folder]:
    with suppress(FileNotFoundError), os.scandir(path) as names:
        for name in names:
            if not name.name.startswith(".") and name.is_dir():
                yield Folder(path / name.name)
