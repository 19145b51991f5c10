"""One session's folder: its header as it is folded from the log, appending, and what is kept of a log for forks."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import attrs

from sessile.errors import CorruptStore, StoreError
from sessile.store import Entry, Header, file_name, from_json, owner_of, refuse_newer, to_json
from sessile_file import logfile
from sessile_file.files import opened, read_from, replace, sync, sync_folder, write_at
from sessile_file.listing import stamp

FORMAT = 1
LAG = 32_768  # bytes the log may grow before state.json is written anew (or its own size, if that is more)
_TAIL = 64  # bytes: room for the random id of a commit
_KEPT = "kept-"


@attrs.frozen
class Known:
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


class Folder:
    """See the module's text. Whatever changes it needs its lock (see `locking.py`)."""

    __slots__ = ("lock", "log", "name", "path", "state")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = path.name
        self.lock = path / "lock"
        self.log = path / "log.jsonl"
        self.state = path / "state.json"

    # -- the header

    def refreshed(self, known: Known | None) -> Known | None:
        """What is known now, from what was known; None where there is no session."""
        with suppress(FileNotFoundError), opened(self.log) as log:
            return self.folded(known, log)
        self._check_log()
        return None

    def folded(self, known: Known | None, log: int) -> Known | None:
        """As `refreshed`, from the open log."""
        status = os.fstat(log)
        same = known and (known.inode, known.end, known.time) == (status.st_ino, status.st_size, status.st_mtime_ns)
        # a session that was deleted and imported again has that size and time, too
        if known and same and read_from(log, known.end - len(known.tail), known.end) == known.tail:
            return known
        new = read_from(log, known.end - len(known.tail), status.st_size) if known else b""
        if known is None or known.inode != status.st_ino or known.end > status.st_size or not new.startswith(known.tail):
            known = self._saved(log, status)
            new = read_from(log, max(0, known.end - _TAIL), status.st_size) if known else read_from(log, 0, status.st_size)
        tail = min(_TAIL, known.end) if known else 0
        header, more = logfile.fold(known.header if known else None, new[tail:], str(self.log))
        if header is None:
            return None
        end, saved, weight = (known.end, known.saved, known.weight) if known else (0, -1, 0)
        return Known(header, status.st_ino, status.st_mtime_ns, end + more, new[: tail + more][-_TAIL:], saved, weight)

    def _saved(self, log: int, status: os.stat_result) -> Known | None:
        """What state.json says; None where it is missing, or of another log."""
        data = self._state()
        if data is None:
            return None
        header, end = self._parsed(data)
        name = logfile.log_of(log, str(self.log))
        if end > status.st_size or not name:
            self._check_log()
            return None
        return Known(header, status.st_ino, status.st_mtime_ns, end, b"", end, len(data)) if name == header.log else None

    def _check_log(self) -> None:
        """`CorruptStore` where the log lacks commits that state.json knows.

        A commit writes the log before state.json, and a deletion removes state.json before the log. So this is no state that
        a kill leaves. Readers have no lock: state.json is read before and after the log, so that it is of this log.
        """
        before = self._state()
        if before is None:
            return
        saved, _ = self._parsed(before)
        lines = b""
        with suppress(FileNotFoundError):
            lines = self.log.read_bytes()
        header, _ = logfile.fold(None, lines, str(self.log))
        if (header is None or (header.log == saved.log and header.version < saved.version)) and self._state() == before:
            raise CorruptStore(
                f"{self.log} has {header.head if header else 0} entries, and {self.state.name} beside it knows of {saved.head}: "
                "restore the log from a copy, or delete the session"
            )

    def _state(self) -> bytes | None:
        """What is in state.json; None where it is missing, or empty: it is not synced, so that a power cut may leave it so."""
        try:
            data = self.state.read_bytes()
        except FileNotFoundError:
            return None
        return data if data.strip(b"\0") else None

    def _parsed(self, data: bytes) -> tuple[Header, int]:
        """The header in state.json, and how many bytes of the log it is of."""
        try:
            saved = from_json(data)
            refuse_newer(str(self.state), saved["sessile"], FORMAT, "sessile-file")
            return Header.from_dict(saved["header"]), int(saved["log_bytes"])
        except (ValueError, KeyError, TypeError, CorruptStore) as error:
            raise CorruptStore(
                f"{self.state} is not readable ({type(error).__name__}: {error}): delete this one file, and it is made again "
                "from log.jsonl beside it"
            ) from error

    # -- appending

    def append(self, log: int, known: Known | None, entries: Sequence[Entry], changes: Mapping[str, Any]) -> Known:
        """Write a commit behind what is known to the open log, durably. What is known then."""
        header = known.header if known else None
        changed = header.after(changes) if header else Header.from_dict(changes)
        lines = logfile.commit_lines(header, entries, changes)
        if not known:
            lines = logfile.first_line(changed.log) + lines
        end, tail, saved, weight = (known.end, known.tail, known.saved, known.weight) if known else (0, b"", -1, 0)
        status = os.fstat(log)
        if status.st_size > end:
            os.ftruncate(log, end)  # what a writer that died had begun
        try:
            write_at(log, lines, end)
            sync(log)
        except OSError as error:
            os.ftruncate(log, end)
            raise StoreError(f"cannot write to {self.path}: {error}; nothing of this commit is kept") from error
        if not known:
            sync_folder(self.path)
        time = _set_time(log, changed.updated_at)
        after = Known(changed, status.st_ino, time, end + len(lines), (tail + lines)[-_TAIL:], saved, weight)
        return self._save(after) if after.end - after.saved > max(LAG, after.weight) or not known else after

    def _save(self, known: Known) -> Known:
        """Replace state.json. It is not synced: the log, which is, makes it again."""
        data = to_json({"sessile": FORMAT, "log_bytes": known.end, "header": known.header.to_dict()}).encode()
        replace(self.state, data, durable=False)
        return attrs.evolve(known, saved=known.end, weight=len(data))

    def set_time(self, header: Header) -> None:
        """Give the log the time of its header."""
        with opened(self.log, os.O_RDWR) as log:
            _set_time(log, header.updated_at)

    # -- what is kept of logs

    def kept(self, log: str) -> Path:
        """Where a log is that its session's header is not in any more."""
        return self.path / f"{_KEPT}{log.partition('.')[0]}.jsonl"

    def set_aside(self, known: Known) -> Known:
        """Move the entries out of log.jsonl, in which only the header stays. What is known then.

        The old file has both names until the new one takes its place, so that the entries are always somewhere.
        """
        kept = self.kept(known.header.log)
        if _entries_in(self.log) is not None:
            lines = logfile.first_line(known.header.log) + logfile.commit_lines(None, (), known.header.to_dict())
            self.state.unlink(missing_ok=True)  # it counts the old file's bytes
            _link(self.log, kept)
            replace(self.log, lines, durable=True)
            with opened(self.log) as log:
                _set_time(log, known.header.updated_at)
            sync_folder(self.path)
        found = self.refreshed(None)
        assert found is not None
        return found

    def keep_log(self) -> None:
        """Remove the header. The log, where it was not set aside before, is kept."""
        self.state.unlink(missing_ok=True)
        name = _entries_in(self.log)
        if name is not None and file_name(owner_of(name)) == self.name:
            os.replace(self.log, self.kept(name))
        else:
            self.log.unlink(missing_ok=True)
        sync_folder(self.path)

    def cut(self, log: str, keep: int) -> None:
        """Cut a log that was set aside or kept."""
        path = self.kept(log)
        if not keep:
            path.unlink(missing_ok=True)
            return
        with suppress(FileNotFoundError), opened(path, os.O_RDWR) as descriptor:
            os.ftruncate(descriptor, logfile.offset_behind(descriptor, os.fstat(descriptor).st_size, keep - 1, str(path)))
            sync(descriptor)

    def remove_if_empty(self) -> None:
        """Remove the folder where nothing is left in it. The lock goes last: who waits for it looks whether it is still there."""
        left = set(os.listdir(self.path)) - {"lock", "state.json.new", "log.jsonl.new"}
        if not left:
            for name in ("state.json.new", "log.jsonl.new", "lock"):
                (self.path / name).unlink(missing_ok=True)
            with suppress(OSError):  # somebody has begun anew in it
                self.path.rmdir()

    def is_begun(self) -> bool:
        """Is there nothing but a first commit that has not come to its end?"""
        with suppress(CorruptStore, OSError):
            return self._state() is None and not list(self.path.glob(f"{_KEPT}*")) and self.refreshed(None) is None
        return False

    def owner(self) -> str | None:
        """The id of the session that the folder is of; None where its name is that of no session, as of a copy."""
        name = unquote(self.name)
        if file_name(name or "~") == self.name:
            return name
        with suppress(CorruptStore, OSError):  # the name of a long id has only its hash
            known = self.refreshed(None)
            if known is not None and file_name(known.header.session_id) == self.name:
                return known.header.session_id
        return None

    def check_owner(self, header: Header) -> None:
        """`CorruptStore` where this is a copy of another session's folder, or was renamed: what it says is that one's."""
        if not owner_of(header.log):
            raise CorruptStore(f"{self.path} has a header without a log: restore it from a copy, or delete the session")
        if file_name(header.session_id) != self.name:
            raise CorruptStore(
                f"{self.path} is of session {header.session_id!r}: a folder was copied or renamed. Use session.export and "
                "manager.import_session for that, and remove this one",
                user_id=header.user_id,
            )

    def logs(self) -> Iterator[str]:
        """The ids of the logs here that have entries; of what is not its own, or cannot be read, one that is its own.

        Where the folder is of no session, its name stands for the session's id.
        """
        paths = sorted(self.path.glob(f"{_KEPT}*.jsonl")) or [self.log]
        if self.log not in paths and self.log.exists():
            paths.append(self.log)
        seen: set[str] = set()
        for path in paths:
            try:
                log = _log_in(path)
            except (OSError, CorruptStore):
                log = "unreadable"
            if log is not None and file_name(owner_of(log) or "unreadable") != self.name:
                log = f"{log.partition('.')[0]}.{self.owner() or self.name}"
            if log is not None and log not in seen:
                seen.add(log)
                yield log


def _log_in(path: Path) -> str | None:
    """The id of the log in a file; None where there is none, or it has no entries."""
    with suppress(FileNotFoundError, NotADirectoryError), opened(path) as descriptor:
        log = logfile.log_of(descriptor, str(path))
        if log and logfile.entries(descriptor, os.fstat(descriptor).st_size, 0, 1, str(path)):
            return log
    return None


def _entries_in(path: Path) -> str | None:
    """As `_log_in`; None too where the file cannot be read."""
    with suppress(OSError, CorruptStore):
        return _log_in(path)
    return None


def _link(path: Path, name: Path) -> None:
    """Give a file a second name; where the file system has no such names, a copy."""
    with suppress(FileExistsError):
        try:
            os.link(path, name)
        except (OSError, AttributeError) as error:
            if isinstance(error, FileExistsError):
                raise
            replace(name, path.read_bytes(), durable=True)


def _set_time(log: int, updated_at: float) -> int:
    """Give a log the time of the session's last change, which lists go by; in nanoseconds."""
    time = stamp(updated_at)
    os.utime(log, ns=(time, time))
    return time
