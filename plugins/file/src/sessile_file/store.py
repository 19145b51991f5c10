"""The file store: a folder a session, `log.jsonl` and `state.json` in it, readable by a person, safe among processes.

A commit is one write and one sync of the log. `state.json` is the header as of some byte of the log, replaced now and
then: what was committed since is folded from the log's end, and the whole file can be made again from the log.
`kept-<random>.jsonl` is what forks inherit of a log whose session was deleted, which may have another one by now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, unquote

from sessile import Message
from sessile.errors import Closed, CorruptStore, SessileError
from sessile.store import (
    Entry,
    Header,
    Page,
    Query,
    Recent,
    SearchQuery,
    Seconds,
    checked,
    conflict,
    file_name,
    missing,
    owner_of,
    path_options,
    recency,
    url_path,
    whole,
)
from sessile_file import logfile
from sessile_file.checking import clear_begun, clear_markers
from sessile_file.files import explained, opened, sync_folder
from sessile_file.folder import Folder, Known
from sessile_file.index import FIELDS, Index
from sessile_file.listing import candidates, stamp
from sessile_file.locking import locked
from sessile_search import SearchIndex

T = TypeVar("T")
_CACHED = 10_000  # headers kept in memory
_LOOKS = 3  # for a log that moves meanwhile (it is kept, its session is deleted), which is found where it went


class FileSessionStore:
    """Sessions in a folder. path: made with the first commit. lock_timeout: seconds to wait for another process's lock."""

    @checked
    def __init__(self, path: str | os.PathLike[str] = "sessions", *, lock_timeout: Seconds = 30.0) -> None:
        self.path = Path(os.path.abspath(path))  # for good: the working directory may change
        self.lock_timeout = lock_timeout
        self._index = Index(self.path)
        self._words = SearchIndex(self.path / ".search.db")
        self._known = Recent[str, Known](_CACHED)
        self._folders = Recent[str, Folder](_CACHED)
        self._strange: set[str] = set()  # names of folders that hold no session
        self._closed = False

    @classmethod
    def from_url(cls, url: str) -> FileSessionStore:
        """`file:///folder` or `file:/folder`, an absolute path; `file:folder`, a relative one; `?lock_timeout=…`."""
        address, options = path_options(url, {"lock_timeout": float})
        rest = address.removeprefix("file:")
        if not rest or rest.startswith("//"):
            return cls("/" + url_path(address, "file").lstrip("/"), **options)
        return cls(unquote(rest), **options)

    @classmethod
    def absolute_url(cls, url: str) -> str:
        """The same folder and patience, from wherever it is opened."""
        store = cls.from_url(url)
        return f"file://{quote(str(store.path))}?lock_timeout={store.lock_timeout}"

    @staticmethod
    def usual_url(home: Path) -> str:
        """Where this store lies when nobody says where."""
        return f"file://{quote(str(home / 'sessions'))}"

    # -- the seven methods

    @explained
    def load(self, session_id: str) -> Header | None:
        folder = self._folder(session_id)
        known = self._refresh(folder)
        if known is None and session_id in self._strange:
            raise CorruptStore(
                f"{self.path / session_id} is not the folder of a session with this name (it was copied or renamed): check its "
                "content, then remove it"
            )
        return known.header if known else None

    @explained
    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        folder = self._folder(session_id)
        while True:
            if not expected:
                self._make(folder)
            try:
                with locked(folder.lock, self.lock_timeout):
                    return self._commit(folder, session_id, expected, entries, changes)
            except FileNotFoundError:  # the folder was removed, with what was deleted in it
                if expected:
                    raise conflict(session_id, expected, None) from None

    def _commit(
        self, folder: Folder, session_id: str, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]
    ) -> None:
        if not expected:
            self._check_version(session_id, expected, self._refresh(folder))
        with opened(folder.log, os.O_RDWR if expected else os.O_RDWR | os.O_CREAT) as log:
            known = self._folded(folder, log)
            self._check_version(session_id, expected, known)
            marked = not changes.keys().isdisjoint(FIELDS)
            if marked:
                self._index.add(folder.name, changes)
            after = folder.append(log, known, entries, changes)
        self._known[folder.name] = after
        if marked and known:
            self._index.remove(folder.name, known.header, after.header)

    def _check_version(self, session_id: str, expected: int, known: Known | None) -> None:
        if (known.header.version if known else 0) != expected:
            raise conflict(session_id, expected, known.header if known else None)

    @explained
    def read(self, log: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        folder = self._folder(owner_of(log))
        if start >= stop:
            return []
        found: list[Entry] = []
        for _ in range(_LOOKS):
            found = self._found(folder, log, start, stop, logfile.entries) or []
            if len(found) == stop - start:
                break
        return whole(found, log, start, stop, kind)

    @explained
    def read_messages(self, log: str, start: int, stop: int) -> list[Message]:
        """The messages of a range, faster than their entries."""
        folder = self._folder(owner_of(log))
        for _ in range(_LOOKS if start < stop else 0):
            found, count = self._found(folder, log, start, stop, logfile.messages) or ([], 0)
            if count == stop - start:
                return found
        if start < stop:
            raise missing(log, start, stop)
        return []

    @explained
    def find(self, query: Query) -> Page[Header]:
        self._check_open()
        behind = query.behind()
        found: list[tuple[int, Header]] = []
        left = candidates(self.path, self._index.listed(query) or self.path, query, self._mend_time)
        while left:
            time, name = -left[0][0], heappop(left)[1]
            if len(found) > query.limit and time < found[query.limit][0]:
                break
            header = self._listed(Folder(self.path / name))
            if header is not None and stamp(header.updated_at) // 1000 < time:  # it has the end of ours by accident
                heappush(left, (-(self._mend_time(name) // 1000), name))
                continue
            if header and query.matches(header) and (behind is None or recency(header) < behind):
                found.append((time, header))
        headers = sorted((header for _, header in found), key=recency, reverse=True)
        return Page.of([header.copy() for header in headers[: query.limit + 1]], query.limit, recency)

    @explained
    def delete(self, session_id: str, *, expected: int | None) -> None:
        folder = self._folder(session_id)
        if expected is None and session_id in self._strange and not folder.path.exists():
            self.load(session_id)  # says why it stays
        try:
            with locked(folder.lock, self.lock_timeout):
                known = self._to_delete(folder, session_id, expected)
                folder.keep_log()
                self._known.pop(folder.name, None)
                if known:
                    self._index.remove(folder.name, known.header)
                folder.remove_if_empty()
        except FileNotFoundError:
            raise conflict(session_id, expected, None) from None
        sync_folder(self.path)

    @explained
    def prune(self, log: str, keep: int) -> None:
        folder = self._folder(owner_of(log))
        with suppress(FileNotFoundError), locked(folder.lock, self.lock_timeout):
            known = self._refresh(folder)
            if known is not None and known.header.log == log:
                self._remember(folder, folder.set_aside(known))
            folder.cut(log, keep)
            folder.remove_if_empty()
        self._words.forget(log, keep)

    @explained
    def logs(self) -> list[str]:
        """The ids of all logs that have entries."""
        self._check_open()
        found: list[str] = []
        with suppress(FileNotFoundError):
            for folder in [Folder(self.path / name) for name in os.listdir(self.path) if name[0] != "."]:
                logs = [*folder.logs()]
                if logs and folder.owner() is None:
                    self._strange.add(folder.name)
                found += logs
        return found

    @explained
    def check(self, repair: bool = False) -> dict[str, Any]:
        """What `sessile doctor` shows: how many folders and markers of no session there are, which lists look past."""
        self._check_open()
        return {
            "commits cut short": clear_begun(self.path, self.lock_timeout, repair=repair),
            "markers of no session": clear_markers(self.path, self._index, repair=repair),
            "search index": self._words.check(self, repair),
        }

    def search(self, query: SearchQuery, limit: int, offset: int) -> list[tuple[str, int]] | None:
        """(log, position) of the messages that may be what a query asks for: from an index in the store's folder."""
        self._check_open()
        return self._words.search(self, query, limit, offset)

    def close(self) -> None:
        self._closed = True
        self._known.clear()

    # -- the header

    def _refresh(self, folder: Folder) -> Known | None:
        """The header as the log has it now: the one last known, or state.json's, and what was appended since."""
        before = self._known.get(folder.name)
        with self._readable(folder):
            known = folder.refreshed(before)
        return self._checked(folder, before, known)

    def _folded(self, folder: Folder, log: int) -> Known | None:
        """As `_refresh`, from the open log."""
        before = self._known.get(folder.name)
        with self._readable(folder):
            known = folder.folded(before, log)
        return self._checked(folder, before, known)

    def _checked(self, folder: Folder, before: Known | None, known: Known | None) -> Known | None:
        if known is not before:
            if known is not None:
                with self._readable(folder):
                    folder.check_owner(known.header)
            self._remember(folder, known)
        return known

    @contextmanager
    def _readable(self, folder: Folder) -> Iterator[None]:
        """`CorruptStore` where a file of a session may not be read, or is none."""
        try:
            yield
        except (PermissionError, IsADirectoryError) as error:
            raise CorruptStore(
                f"{folder.path} cannot be read ({error.strerror}): fix its permissions, or delete the session"
            ) from error
        except SessileError:
            raise
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise CorruptStore(
                f"{folder.path} cannot be read ({type(error).__name__}): restore its log from a copy, or delete the session"
            ) from error

    def _to_delete(self, folder: Folder, session_id: str, expected: int | None) -> Known | None:
        """The header to delete; `Conflict` where it is not at that version, or (None) can be read."""
        try:
            known = self._refresh(folder)
        except SessileError:
            if expected is None:
                return None
            raise
        if known is None or known.header.version != expected:
            raise conflict(session_id, expected, known.header if known else None)
        return known

    def _found(self, folder: Folder, log: str, start: int, stop: int, read: Callable[[int, int, int, int, str], T]) -> T | None:
        """What is read of a range as far as it is where the log is looked for."""
        kept = folder.kept(log)
        with suppress(FileNotFoundError), self._readable(folder), opened(kept) as descriptor:
            size = os.fstat(descriptor).st_size
            return read(descriptor, size, start, stop, str(kept))
        with suppress(FileNotFoundError), self._readable(folder), opened(folder.log) as descriptor:
            known = folder.folded(self._known.get(folder.name), descriptor)
            self._remember(folder, known)
            if known is not None and known.header.log == log:
                return read(descriptor, known.end, start, min(stop, known.header.head), str(folder.log))
        return None

    # -- lists

    def _listed(self, folder: Folder) -> Header | None:
        """A header for a list, None where there is none; a broken session must not hide the others."""
        try:
            known = self._refresh(folder)
        except (SessileError, OSError):
            return None
        return known.header if known else None

    def _mend_time(self, name: str) -> int:
        """The time that a log should have (in nanoseconds). It gets it, where nobody has the lock."""
        folder = Folder(self.path / name)
        header = self._listed(folder)
        with suppress(SessileError, OSError), locked(folder.lock, 0):
            header = self._listed(folder)
            if header is not None:  # one that cannot be read may be mended some day
                folder.set_time(header)
        return stamp(header.updated_at) if header else 0

    # -- folders

    def _make(self, folder: Folder) -> None:
        if not folder.path.is_dir():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)  # names tell who talks, and when
            folder.path.mkdir(mode=0o700, exist_ok=True)
            sync_folder(self.path)

    def _remember(self, folder: Folder, known: Known | None) -> None:
        if known is None:
            self._known.pop(folder.name, None)
            return
        self._known[folder.name] = known

    def _folder(self, session_id: str) -> Folder:
        self._check_open()
        folder = self._folders.get(session_id)
        if folder is None:
            folder = self._folders[session_id] = Folder(self.path / file_name(session_id))
        return folder

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"the file store in {self.path} is closed: make a new FileSessionStore({str(self.path)!r})")
