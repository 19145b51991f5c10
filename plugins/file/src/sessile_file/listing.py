"""In which order the sessions of a store may be listed: by the time of each log's last change, without opening any."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sessile.store import RESERVED, Query, file_name


def candidates(path: Path, names: Path, query: Query) -> Iterator[tuple[int, str]]:
    """(time of the last change in microseconds, folder) of the sessions in a store that may match, newest first.

    names: a folder with a name for each of them.
    """
    behind = query.behind()
    newest = None if behind is None else round(behind[0] * 1e6)
    store, reserved = f"{path}{os.sep}", file_name(RESERVED)
    found: list[tuple[int, str]] = []
    with suppress(FileNotFoundError):
        for name in os.listdir(names):
            if name[0] != "." and name.startswith(reserved) == query.reserved:
                with suppress(OSError):  # it is gone, or may not be read: that must not hide the others
                    time = os.stat(f"{store}{name}{os.sep}log.jsonl").st_mtime_ns // 1000
                    if newest is None or time <= newest:
                        found.append((-time, name))
    heapq.heapify(found)  # as a page needs few of many
    while found:
        time, name = heapq.heappop(found)
        yield -time, name
