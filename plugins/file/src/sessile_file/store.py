"""The file store: a folder a session, `log.jsonl` and `state.json` in it, readable by a person, safe among processes.

A commit is one write and one sync of the log. `state.json` is the header as of some byte of the log, replaced now and
then: what was committed since is folded from the log's end, and the whole file can be made again from the log.
"""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs
from filelock import FileLock, Timeout

from sessile.addresses import url_path
from sessile.encoding import from_json, to_json
from sessile.errors import Closed, Conflict, CorruptStore, LockTimeout, SessileError, StoreError, StoreTooNew
from sessile.ids import RESERVED, file_name, new_id
from sessile.log import Entry, Header
from sessile.store import Page, Query, recency
from sessile_file import logfile

FORMAT = 1
LAG = 4096  # bytes the log may grow before state.json is written anew (or its own size, if that is more)
_CACHED = 10_000  # headers kept in memory
_INDEX = ".index"  # holds, by field and value, an empty file for each session whose header has that value, or had it
_INDEXED = ("parent", "root", "user_id")  # the narrowest first
_TRASH = ".trash-"
_TAIL = 64  # bytes: room for the random id of a commit


@attrs.frozen
class _Known:
    """A header and what it is of: the log's inode and time, the bytes folded, and how many of them state.json knows.

    tail: the last of those bytes. A new log may get the inode of one that was deleted, but it does not say the same there.
    """

    header: Header
    inode: int
    time: int
    end: int
    tail: bytes
    saved: int
    weight: int


class FileSessionStore:
    """Sessions in a folder. path: made with the first commit. lock_timeout: seconds to wait for another process's lock."""

    def __init__(self, path: str | os.PathLike[str] = "sessions", *, lock_timeout: float = 30.0) -> None:
        self.path = Path(path)
        self.lock_timeout = lock_timeout
        self._known: dict[str, _Known] = {}
        self._closed = False

    @classmethod
    def from_url(cls, url: str) -> FileSessionStore:
        """`file:///folder`, an absolute path; `file:folder`, a relative one."""
        if not url.startswith("file:/"):
            return cls(url.removeprefix("file:"))
        return cls("/" + url_path(url, "file").lstrip("/"))

    @staticmethod
    def usual_url(home: Path) -> str:
        """Where this store lies when nobody says where."""
        return f"file://{home / 'sessions'}"

    # -- the six methods

    def load(self, session_id: str) -> Header | None:
        self._check_open()
        known = self._refresh(self._folder(session_id))
        return known.header if known else None

    def commit(self, session_id: str, *, expected: int, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        self._check_open()
        folder = self._folder(session_id)
        if not expected and not folder.is_dir():
            self._mark(folder, changes)
            folder.mkdir(exist_ok=True)
            _sync_folder(self.path)
        with self._locked(folder, session_id):
            known = self._refresh(folder)
            if (known.header.version if known else 0) != expected:
                raise Conflict(f"session {session_id!r} is not at version {expected} any more", known and known.header)
            if known is None or changes.keys().isdisjoint(_INDEXED):
                self._append(folder, known, entries, changes)
                return
            self._mark(folder, changes)
            self._append(folder, known, entries, changes)
            for marker in set(self._markers(folder, known)) - set(self._markers(folder, self._known[folder.name])):
                marker.unlink(missing_ok=True)

    def read(self, session_id: str, start: int, stop: int, kind: str | None = None) -> list[Entry]:
        self._check_open()
        folder = self._folder(session_id)
        known = self._refresh(folder)
        if known is None or start >= stop:
            return []
        path = folder / "log.jsonl"
        with suppress(FileNotFoundError), _opened(path, os.O_RDONLY) as log:
            found = logfile.entries(log, known.end, start, min(stop, known.header.head), str(path))
            return [entry for entry in found if kind in (None, entry.kind)]
        return []

    def find(self, query: Query) -> Page[Header]:
        self._check_open()
        behind = query.behind()
        found: list[tuple[int, Header]] = []
        for time, folder in self._candidates(query):
            if len(found) > query.limit and time < found[query.limit][0]:
                break
            if behind is not None and time > round(behind[0] * 1e6):
                continue
            header = self._listed(folder)
            if header and query.matches(header) and (behind is None or recency(header) < behind):
                found.append((time, header))
        headers = sorted((header for _, header in found), key=recency, reverse=True)
        return Page.of(headers[: query.limit + 1], query.limit, recency)

    def delete(self, session_id: str) -> None:
        self._check_open()
        folder = self._folder(session_id)
        with suppress(FileNotFoundError, Conflict), self._locked(folder, session_id):
            known = self._refresh(folder, lenient=True)
            trash = self.path / f"{_TRASH}{new_id()}"
            os.rename(folder, trash)  # gone at once and whole; who waits for the lock finds nothing
            self._known.pop(folder.name, None)
            for marker in self._markers(folder, known):
                marker.unlink(missing_ok=True)
            _sync_folder(self.path)
            for left in self.path.glob(f"{_TRASH}*"):  # of a delete that was killed, too
                shutil.rmtree(left, ignore_errors=True)

    def close(self) -> None:
        self._closed = True
        self._known.clear()

    # -- writing

    def _append(self, folder: Path, known: _Known | None, entries: Sequence[Entry], changes: Mapping[str, Any]) -> None:
        header = known.header if known else None
        lines = logfile.commit_lines(header, entries, changes)
        changed = header.after(changes) if header else Header.from_dict(changes)
        with _opened(folder / "log.jsonl", os.O_RDWR | os.O_CREAT) as log:
            end = known.end if known else 0
            status = os.fstat(log)
            if status.st_size > end:
                os.ftruncate(log, end)  # what a writer that died had begun
            try:
                _write(log, lines, end)
                _sync(log)
            except OSError as error:
                os.ftruncate(log, end)
                raise StoreError(f"cannot write to {folder}: {error}; nothing of this commit is kept") from error
            if not known:
                _sync_folder(folder)
            moment = round(changed.updated_at * 1e6) * 1000
            os.utime(log, ns=(moment, moment))  # listings go by it
            saved, weight = (known.saved, known.weight) if known else (-1, 0)
            after = _Known(
                changed, status.st_ino, moment, end + len(lines), ((known.tail if known else b"") + lines)[-_TAIL:], saved, weight
            )
        if after.end - after.saved > max(LAG, after.weight) or not known:
            after = self._save_header(folder, after)
        self._remember(folder, after)

    def _save_header(self, folder: Path, known: _Known) -> _Known:
        """Replace state.json. It is not synced: the log, which is, makes it again."""
        data = to_json({"sessile": FORMAT, "log_bytes": known.end, "header": known.header.to_dict()}).encode()
        temporary = folder / "state.json.new"
        temporary.write_bytes(data)
        os.replace(temporary, folder / "state.json")
        return attrs.evolve(known, saved=known.end, weight=len(data))

    def _mark(self, folder: Path, changes: Mapping[str, Any]) -> None:
        """The markers by which a session is found from the values of its header; `find` looks whether they still hold."""
        for field in _INDEXED:
            if changes.get(field):
                marked = self._marked(field, str(changes[field]))
                marked.mkdir(parents=True, exist_ok=True)
                (marked / folder.name).touch()
                _sync_folder(marked)

    def _marked(self, field: str, value: str) -> Path:
        return self.path / _INDEX / field / file_name(value)

    @contextmanager
    def _locked(self, folder: Path, session_id: str) -> Iterator[None]:
        if not folder.is_dir():
            raise Conflict(f"session {session_id!r} is not there any more")
        lock = FileLock(folder / "lock", timeout=self.lock_timeout, poll_interval=0.002)
        try:
            lock.acquire()
        except Timeout as error:
            raise LockTimeout(
                f"session {session_id!r} has been locked by another process for {self.lock_timeout} s: try again, or "
                "raise lock_timeout"
            ) from error
        except FileNotFoundError as error:
            raise Conflict(f"session {session_id!r} is not there any more") from error
        try:
            yield
        finally:
            lock.release()

    # -- reading

    def _refresh(self, folder: Path, *, lenient: bool = False) -> _Known | None:
        """The header as the log has it now: the one last known, or state.json's, and what was appended since."""
        known = self._known.get(folder.name)
        try:
            with _opened(folder / "log.jsonl", os.O_RDONLY) as log:
                known = self._fold(folder, known, log)
        except FileNotFoundError:
            known = None
        except SessileError:
            if not lenient:
                raise
        self._remember(folder, known)
        return known

    def _fold(self, folder: Path, known: _Known | None, log: int) -> _Known | None:
        status = os.fstat(log)
        if known and (known.inode, known.end, known.time) == (status.st_ino, status.st_size, status.st_mtime_ns):
            return known
        new = _read_from(log, known.end - len(known.tail), status.st_size) if known else b""
        if known is None or known.inode != status.st_ino or known.end > status.st_size or not new.startswith(known.tail):
            known = self._saved_header(folder, status)
            new = _read_from(log, max(0, known.end - _TAIL), status.st_size) if known else _read_from(log, 0, status.st_size)
        tail = min(_TAIL, known.end) if known else 0
        header, more = logfile.fold(known.header if known else None, new[tail:], str(folder / "log.jsonl"))
        if header is None:
            return None
        end, saved, weight = (known.end, known.saved, known.weight) if known else (0, -1, 0)
        return _Known(header, status.st_ino, status.st_mtime_ns, end + more, new[: tail + more][-_TAIL:], saved, weight)

    def _saved_header(self, folder: Path, log: os.stat_result) -> _Known | None:
        """What state.json says; None where it is missing, or ahead of a log that lost its end with the power."""
        path = folder / "state.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        try:
            saved = from_json(data)
            if saved["sessile"] > FORMAT:
                raise StoreTooNew(f"{path} was written by a newer version (format {saved['sessile']}): upgrade sessile-file")
            header, end = Header.from_dict(saved["header"]), int(saved["log_bytes"])
        except (ValueError, KeyError, TypeError, CorruptStore) as error:
            raise CorruptStore(
                f"{path} is not readable ({type(error).__name__}: {error}): delete this one file, and it is made again "
                "from log.jsonl beside it"
            ) from error
        return _Known(header, log.st_ino, log.st_mtime_ns, end, b"", end, len(data)) if end <= log.st_size else None

    def _listed(self, folder: Path) -> Header | None:
        """A header for a list, None where there is none; a broken session must not hide the others."""
        try:
            known = self._refresh(folder)
        except (SessileError, OSError):
            return None
        return known.header if known else None

    def _candidates(self, query: Query) -> list[tuple[int, Path]]:
        """(time of the last change in microseconds, folder) of the sessions that may match, newest first."""
        asked = [(field, value) for field in _INDEXED if (value := getattr(query, field)) is not None]
        listed = self._marked(*asked[0]) if asked else self.path
        found = []
        with suppress(FileNotFoundError), os.scandir(listed) as names:
            for name in names:
                if name.name.startswith(".") or (name.name.startswith("%7e") != query.prefix.startswith(RESERVED)):
                    continue
                with suppress(FileNotFoundError, NotADirectoryError):
                    status = os.stat(self.path / name.name / "log.jsonl")
                    found.append((status.st_mtime_ns // 1000, self.path / name.name))
        return sorted(found, key=lambda pair: (-pair[0], pair[1].name))

    def _markers(self, folder: Path, known: _Known | None) -> list[Path]:
        if known:
            values = [(field, getattr(known.header, field)) for field in _INDEXED]
            return [self._marked(field, value) / folder.name for field, value in values if value]
        return [*(self.path / _INDEX).glob(f"*/*/{glob.escape(folder.name)}")]

    def _remember(self, folder: Path, known: _Known | None) -> None:
        if known is None:
            self._known.pop(folder.name, None)
            return
        if len(self._known) >= _CACHED and folder.name not in self._known:
            self._known.clear()
        self._known[folder.name] = known

    def _folder(self, session_id: str) -> Path:
        return self.path / file_name(session_id)

    def _check_open(self) -> None:
        if self._closed:
            raise Closed(f"the file store in {self.path} is closed: make a new FileSessionStore({str(self.path)!r})")


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _read_from(descriptor: int, start: int, stop: int) -> bytes:
    return os.pread(descriptor, stop - start, start) if stop > start else b""


def _write(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync(descriptor: int) -> None:
    """Make what was written durable (macOS has no fdatasync)."""
    getattr(os, "fdatasync", os.fsync)(descriptor)


def _sync_folder(path: Path) -> None:
    """Make names that were added to or removed from a folder durable."""
    with _opened(path, os.O_RDONLY) as descriptor:
        os.fsync(descriptor)
