"""Finding sessions by their user or tree without opening all: for each such value, an empty file a session that has it.

A marker is made before the header is written, and removed after the header has another value. So there may be stale markers:
a list checks each against its header.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sessile.store import Header, Query, file_name
from sessile_file.files import sync_folder

FIELDS = ("parent", "root", "user_id")  # the narrowest first


class Index:
    """The markers below a store's folder."""

    def __init__(self, path: Path) -> None:
        self._path = path / ".index"

    def add(self, folder: str, fields: Mapping[str, Any]) -> None:
        """Mark a session's folder with the values that its header gets."""
        for field in FIELDS:
            if fields.get(field):
                self._mark(self._marked(field, fields[field]) / folder)

    def _mark(self, marker: Path) -> None:
        while not marker.exists():
            for made in (self._path, marker.parent.parent, marker.parent):  # its names tell who talks
                made.mkdir(mode=0o700, exist_ok=True)
            with suppress(FileNotFoundError):  # somebody removed the last marker beside it, and the folder with that
                marker.touch()
                sync_folder(marker.parent)

    def remove(self, folder: str, gone: Header, kept: Header | None = None) -> None:
        """Remove the marks of a header, but for those that another has too."""
        for field in FIELDS:
            value = getattr(gone, field)
            if value and (kept is None or getattr(kept, field) != value):
                self.unmark(self._marked(field, value) / folder)

    def unmark(self, marker: Path) -> None:
        """Remove a marker, and its folder with the last one."""
        marker.unlink(missing_ok=True)
        with suppress(OSError):  # there are others
            marker.parent.rmdir()

    def markers(self) -> Iterator[tuple[str, Path]]:
        """(field, marker) of all there are."""
        for field in FIELDS:
            for marker in sorted((self._path / field).glob("*/*")):
                yield field, marker

    def marker(self, field: str, header: Header) -> Path | None:
        """The marker of a header's value; None where it has none."""
        value = getattr(header, field)
        return self._marked(field, value) / file_name(header.session_id) if value else None

    def listed(self, query: Query) -> Path | None:
        """The folder that has a name for each session that may match; None where a query asks for no marked value."""
        for field in FIELDS:
            if (value := getattr(query, field)) is not None:
                return self._marked(field, value)
        return None

    def _marked(self, field: str, value: str) -> Path:
        return self._path / field / file_name(os.fspath(value))
