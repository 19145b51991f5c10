"""The manager of the sessions in a store: making, finding, archiving and deleting them."""

from __future__ import annotations

import builtins
import os
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import attrs

from sessile import archives, deletion, lifecycle
from sessile.drive import Blocking, run
from sessile.encoding import JSON
from sessile.errors import AccessDenied, CorruptStore
from sessile.ids import RESERVED, check_id
from sessile.log import ACTIVE, ARCHIVED, CREATED, DEFAULT_USER, DELETED, SAVED, Entry, Header
from sessile.messages import Message, from_entry
from sessile.store import Page, Query
from sessile.stores import find_store

if TYPE_CHECKING:
    from sessile.session import Session

DAY = 86_400.0  # seconds


@attrs.frozen
class Hit:
    """A message found by `search`."""

    session_id: str
    message: Message


class SessionManager:
    """The sessions of one store. store: as for `Session`; one opened here is closed by `close` or at the end of `with`."""

    def __init__(self, store: Any = None, *, backend: str | None = None) -> None:
        found, self._release = find_store(store, backend)
        self.store: Any = found
        self._face = Blocking()

    def create_session(
        self,
        user_id: str = DEFAULT_USER,
        session_id: str | None = None,
        *,
        title: str = "",
        metadata: dict[str, JSON] | None = None,
        **options: Any,
    ) -> Session:
        """Store a new session and open it. `SessionExists` where the id is taken. Options are those of `Session`."""
        from sessile.session import Session

        session = Session(session_id, user_id=user_id, store=self.store, metadata=metadata, **options)
        run(lifecycle.create(session._handle, title))
        return session

    def get_session(self, session_id: str, user_id: str | None = None, **options: Any) -> Session | None:
        """Open a stored session; None where there is none. `AccessDenied` where it is not this user's."""
        from sessile.session import Session

        session = Session(session_id, user_id=user_id, store=self.store, **options)
        return session if run(session._handle.open()).version else None

    def get_sessions_for_user(self, user_id: str, limit: int = 50) -> builtins.list[Session]:
        """Open a user's latest sessions, newest change first."""
        from sessile.session import Session

        page = self.list(user_id=user_id, limit=limit)
        return [Session(header.session_id, user_id=user_id, store=self.store) for header in page.items]

    def list(self, **query: Any) -> Page[Header]:
        """A page of headers, newest change first, without opening any session. See `sessile.store.Query`."""
        page: Page[Header] = self._call(self.store.find, Query(**query))
        return Page([header for header in page.items if header.status != DELETED], page.cursor)

    def each(self, **query: Any) -> Iterator[Header]:
        """All headers that a query finds, page by page (of `limit`, by default 1,000)."""
        query = {"limit": 1000, **query}
        page = self.list(**query)
        yield from page.items
        while page.cursor is not None:
            page = self.list(**{**query, "cursor": page.cursor})
            yield from page.items

    def exists(self, session_id: str) -> bool:
        """Is there such a session?"""
        header = self._call(self.store.load, check_id(session_id))
        return header is not None and not header.hidden

    def import_session(
        self,
        path: str | os.PathLike[str],
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Session:
        """Store a session that `Session.export` or `save` wrote to a file, and open it. `SessionExists` where its id is taken.

        session_id, user_id: default those it had. progress: called with the number of entries stored, and of all.
        """
        from sessile.session import Session

        found = archives.read_archive(path)
        if found is not None:
            stored = archives.restore_archive(self._face, self.store, found, session_id, user_id=user_id, progress=progress)
            return Session(run(stored), store=self.store)
        about = archives.about(path)
        session = self.create_session(user_id or about["user_id"], session_id or about["session_id"])
        run(archives.load(session._handle, path))
        return session

    def save(self, session: Session) -> None:
        """Mark a session as saved (its status). What was said is stored already; a message makes it active again."""
        run(lifecycle.mark_saved(session._handle))

    def delete(self, session_id: str, user_id: str | None = None, *, cascade: bool = False) -> bool:
        """Delete a session, a broken one too; False where there was none. `AccessDenied` where it is not this user's.

        Sessions that were forked from it keep what they inherited. cascade: those are deleted as well.
        """
        try:
            header = self._call(self.store.load, check_id(session_id))
            known = header is not None
        except CorruptStore:
            if user_id is not None:
                raise
            header, known = None, True
        if header is not None and user_id is not None and header.user_id != user_id:
            raise AccessDenied(f"session {session_id!r} does not belong to user {user_id!r}: it was not deleted")
        if known:
            run(deletion.delete_stored(self._face, self.store, session_id, cascade=cascade))
        return known and not (header and header.hidden)

    def archive_inactive(self, days: float = 30) -> int:
        """Archive the sessions that nothing was said in for so many days; returns how many."""
        headers = [h for status in (CREATED, ACTIVE, SAVED) for h in self._inactive(days, status=status)]
        for header in headers:
            if (session := self.get_session(header.session_id)) is not None:
                session.archive()
        return len(headers)

    def delete_inactive(self, days: float = 30, *, status: str | None = None) -> int:
        """Delete the sessions that were not changed for so many days (status: only such); returns how many."""
        return self._delete_all(self._inactive(days, status=status))

    def delete_archived(self) -> int:
        """Delete all archived sessions; returns how many."""
        return self._delete_all(self.each(status=ARCHIVED))

    def _delete_all(self, headers: Iterable[Header]) -> int:
        return sum(self.delete(session_id) for session_id in [header.session_id for header in headers])

    def clear_all(self) -> int:
        """Delete every session and all shared state of this store; returns how many sessions there were."""
        headers = run(deletion.find_all(self._face, self.store, Query(limit=1000)))
        for header in headers:
            self._call(self.store.delete, header.session_id)
        return sum(not header.hidden for header in headers)

    def sweep(self, *, repair: bool = False) -> int:
        """How many deletions and imports were cut short more than an hour ago; repair: clear away what they left."""
        return run(deletion.sweep(self._face, self.store, repair=repair))

    def search(self, text: str, *, user_id: str | None = None, limit: int = 20) -> builtins.list[Hit]:
        """Messages that contain all words of `text`: best first where the store has an index, else newest session first."""
        if hasattr(self.store, "search"):
            found = self._call(self.store.search, text, user_id=user_id, limit=limit)
            shown = [(self._shown(session_id, entry), entry) for session_id, entry in found]
            return [Hit(session_id, from_entry(entry)) for session_id, entry in shown if session_id]
        hits: builtins.list[Hit] = []
        for header in self.each(user_id=user_id):
            hits += self._scan(header, text.lower().split())
            if len(hits) >= limit:
                break
        return hits[:limit]

    def _shown(self, log: str, entry: Entry) -> str:
        """The session to show for a hit: where it is in what a deleted session left to its forks, one that it counts in."""
        waiting = [log] if log.startswith(RESERVED) else []
        for parent in waiting:  # grows meanwhile
            for fork in run(deletion.children(self._face, self.store, parent)):
                parts = [(part.start, part.stop or 0) for part in fork.segments if fork.where(part.session_id) == log]
                if not fork.hidden and any(start <= entry.position < stop for start, stop in parts):
                    return fork.session_id
                waiting.append(fork.session_id)
        return "" if waiting else log

    def _scan(self, header: Header, words: builtins.list[str]) -> builtins.list[Hit]:
        from sessile.session import Session

        try:
            messages = Session(header.session_id, store=self.store).messages
        except CorruptStore:  # one broken session must not hide what the others hold
            return []
        return [Hit(header.session_id, m) for m in messages if words and all(w in m.text.lower() for w in words)]

    def _inactive(self, days: float, **query: Any) -> builtins.list[Header]:
        return [*self.each(before=time.time() - days * DAY, **query)]

    def _call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        return run(self._face.call(method, *args, **kwargs))

    def close(self) -> None:
        """Close a store that was opened here."""
        self._release()

    def __enter__(self) -> SessionManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
