"""In which order the sessions of a store may be listed: by the time of each log, without opening any.

A commit gives its log the time that the header says, with an end of sessile's own (`stamp`). A time without that is another's:
of a store that was copied or restored, or of a commit that is being made. Then the header is asked.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sessile.store import RESERVED, Query, file_name

_END = 737  # nanoseconds; where a file system does not keep so many, every header is asked


def stamp(updated_at: float) -> int:
    """The time that a log has (in nanoseconds), from that of the session's last change (in seconds)."""
    return round(updated_at * 1e6) * 1000 + _END


def candidates(path: Path, names: Path, query: Query, mend: Callable[[str], int]) -> list[tuple[int, str]]:
    """A heap of the sessions in a store that may match: (less time of the last change in microseconds, folder), newest first.

    names: a folder with a name for each of them. mend: the time of the log in a folder, as its header says.
    """
    behind = query.behind()
    newest = None if behind is None else round(behind[0] * 1e6)
    store, reserved = f"{path}{os.sep}", file_name(RESERVED)
    times: dict[str, int] = {}
    with suppress(FileNotFoundError):
        for name in os.listdir(names):
            if name[0] != "." and name.startswith(reserved) == query.reserved:
                with suppress(OSError):  # it is gone, or may not be read: that must not hide the others
                    times[name] = os.stat(f"{store}{name}{os.sep}log.jsonl").st_mtime_ns
    foreign = [name for name, time in times.items() if time % 1000 != _END]
    if len(foreign) > len(times) // 10:  # a copy: among so many, some may have that end by accident
        foreign = [*times]
    times.update((name, mend(name)) for name in foreign)
    found = [(-(time // 1000), name) for name, time in times.items() if newest is None or time // 1000 <= newest]
    heapq.heapify(found)  # as a page needs few of many
    return found
