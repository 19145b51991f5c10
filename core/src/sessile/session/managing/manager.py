"""The manager of the sessions in a store: making, finding, archiving and deleting them."""

from __future__ import annotations

import builtins
import copy
import os
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any

import attrs

from sessile.drive.arguments import Arguments, Check, Count, Seconds, checked_class
from sessile.drive.faces import Blocking, run
from sessile.engine import lifecycle
from sessile.engine.committing import deletion
from sessile.engine.committing.commits import Commits
from sessile.errors import AccessDenied, CorruptStore, InvalidInput
from sessile.graph.merging import AnySession
from sessile.log.encoding import JSON
from sessile.log.header import ACTIVE, ARCHIVED, CREATED, DEFAULT_USER, SAVED, STATUSES, UNSEEN, Header
from sessile.log.ids import check_id
from sessile.session.blocking import Session
from sessile.session.managing import erasing
from sessile.session.managing.searching import Hit, Search
from sessile.store.opening import find_store
from sessile.store.text.query import SearchQuery
from sessile.store.waist import Page, Query
from sessile.transfer import archives

DAY = 86_400.0  # seconds
Days = Annotated[float, Check(lambda value: value >= 0, "a number of days, 0 or more")]
_check_query = Arguments(Query.__init__, skip=1)


@checked_class
class SessionManager:
    """The sessions of one store. store: as for `Session`; one opened here is closed by `close` or at the end of `with`.

    timeout: seconds to wait for other writers, or for a store that does not answer, before a call fails.

    A manager that `user` returns is bound to one user: a call that names another raises `AccessDenied`.
    """

    user_id: str | None = None  # the user that it is bound to; None: it is everybody's

    def __init__(self, store: Any = None, *, backend: str | None = None, timeout: Seconds = 30) -> None:
        found, self._release = find_store(store, backend)
        self.store: Any = found
        self._commits = Commits(Blocking(), found, timeout)

    def user(self, user_id: str) -> SessionManager:
        """A manager of the same store that is bound to a user: what it makes, lists, opens and deletes is this user's.

        Another user's session is not listed or found, and raises `AccessDenied` where it is named. Closing is left to this one.
        """
        bound = copy.copy(self)
        bound.user_id = check_id(self._whose(user_id), "user id")
        bound._release = lambda: None
        return bound

    def _whose(self, user_id: str | None) -> str | None:
        """Whose sessions a call is about; None: everybody's."""
        if user_id is not None:
            check_id(user_id, "user id")
        if self.user_id is not None and user_id not in (None, self.user_id):
            raise AccessDenied(f"this manager is bound to user {self.user_id!r}: it has no access to what is {user_id!r}'s")
        return self.user_id or user_id

    def create_session(
        self,
        user_id: str | None = None,
        *,
        session_id: str | None = None,
        title: str = "",
        metadata: dict[str, JSON] | None = None,
        **options: Any,
    ) -> Session:
        """Store a new session and open it. `SessionExists` where the id is taken. Options are those of `Session`.

        user_id: default the user that the manager is bound to, else "default_user".
        """
        user_id = self._whose(user_id) or DEFAULT_USER
        session = self._open(Session, session_id, user_id, metadata=metadata, **options)
        try:
            run(lifecycle.create_new(session._handle, title))
        except BaseException:
            session.close()
            raise
        return session

    def get_session(self, session_id: str, user_id: str | None = None, **options: Any) -> Session | None:
        """Open a stored session; None where there is none. `AccessDenied` where it is not this user's (None: anybody's)."""
        session = self._open(Session, session_id, self._whose(user_id), **options)
        if run(session._handle.open()).version:
            return session
        session.close()
        return None

    def _open(self, kind: type[Session], session_id: str | None, user_id: str | None, **options: Any) -> Session:
        if given := options.keys() & {"store", "backend", "db"}:
            raise InvalidInput(f"{', '.join(sorted(given))}: where a session is kept is the manager's: leave it out")
        return kind(session_id, user_id=user_id, store=self.store, **options)

    def get_sessions_for_user(self, user_id: str, limit: int = 50) -> builtins.list[Session]:
        """Open a user's latest sessions, newest change first."""
        page = self.list(user_id=user_id, limit=limit)
        return [Session(header.session_id, user_id=header.user_id, store=self.store) for header in page.items]

    def list(self, **query: Any) -> Page[Header]:
        """A page of headers, newest change first, without opening any session. See `sessile.store.Query`.

        `InvalidInput` for what no query has, and for what is no session: a prefix that begins with "~", or the statuses
        "pending" and "deleted".
        """
        found: Page[Header] = self._call(self.store.find, self._query(**query))
        return found

    def _query(self, **query: Any) -> Query:
        _check_query((), query)
        asked = Query(**{**query, "user_id": self._whose(query.get("user_id"))})
        if asked.reserved:
            raise InvalidInput(f"prefix {asked.prefix!r} is of sessile's own records, which are no sessions: ask for another one")
        if asked.status in UNSEEN:
            use = ", ".join(STATUSES)
            raise InvalidInput(f"status {asked.status!r} is internal (a session being made or deleted): use one of {use}")
        return asked

    def each(self, **query: Any) -> Iterator[Header]:
        """All headers that a query finds, page by page (of `limit`, by default 1,000), newest change first.

        One that changes while the pages are read may be left out, or come as it was.
        """
        query = {"limit": 1000, **query}
        self._query(**query)  # here, and not when the first header is asked for
        return self._pages(query)

    def _pages(self, query: dict[str, Any]) -> Iterator[Header]:
        page = self.list(**query)
        yield from page.items
        while page.cursor is not None:
            page = self.list(**{**query, "cursor": page.cursor})
            yield from page.items

    def exists(self, session_id: str) -> bool:
        """Is there such a session?"""
        header = self._call(self.store.load, check_id(session_id))
        return header is not None and not header.hidden and self.user_id in (None, header.user_id)

    def import_session(
        self,
        path: str | os.PathLike[str],
        session_id: str | None = None,
        *,
        user_id: str | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> Session:
        """Store a session that `Session.export` or `save` wrote to a file, and open it. `SessionExists` where its id is taken.

        session_id, user_id: default those it had; a bound manager makes it its user's. progress: called with the number of
        entries stored, and of all.
        """
        user_id = self._whose(user_id)
        found = archives.read_archive(path)
        if found is not None:
            stored = archives.restore_archive(self._commits, found, session_id, user_id=user_id, progress=progress)
            return Session(run(stored), user_id=user_id, store=self.store)
        about = archives.about(path)
        owner = about["user_id"] if user_id is None else user_id
        name = about["session_id"] if session_id is None else check_id(session_id)
        run(archives.check_free(self._commits, name))
        session = Session(name, user_id=owner, store=self.store)
        run(archives.load(session._handle, path, new=True, progress=progress))
        return session

    def save(self, session: AnySession) -> None:
        """Mark a session as saved (its status). What was said is stored already; the next entry makes it active."""
        self._whose(run(session._handle.open()).user_id)
        run(lifecycle.mark_saved(session._handle))

    def delete(self, session_id: str, user_id: str | None = None, *, cascade: bool = False) -> bool:
        """Delete a session, a broken one too; False where there was none. `AccessDenied` where it is not this user's.

        Sessions that were forked from it keep what they inherited. cascade: those are deleted as well.
        `CorruptStore` for a broken one where a user is named, and it cannot be read whose it is.
        """
        user_id, log = self._whose(user_id), ""
        if user_id is not None:
            try:
                header = run(self._commits.load(check_id(session_id)))
            except CorruptStore as error:
                owner = error.user_id
                if owner is None:
                    raise
            else:
                if header is None:
                    return False
                owner, log = header.user_id, header.log
            if owner != user_id:
                raise AccessDenied(f"session {session_id!r} does not belong to user {user_id!r}: it was not deleted")
        return run(deletion.delete_session(self._commits, check_id(session_id), log=log, cascade=cascade))

    def delete_user(self, user_id: str) -> int:
        """Delete all sessions of a user, broken ones too, and the state that they share; returns how many sessions there were.

        Sessions that are begun meanwhile, forks too, may stay. `CorruptStore`, once all others are deleted, where it cannot be
        read whose some of the store's sessions are: it names each (a bound manager leaves those aside). What cannot be read is
        not in any list, so this looks through the ids of all logs of the store.
        """
        self._whose(check_id(user_id, "user id"))
        return run(erasing.delete_all_of(self._commits, user_id, bound=self.user_id is not None))

    def archive_inactive(self, days: Days = 30) -> int:
        """Archive the sessions that nothing was said in for so many days; returns how many.

        One that is used again before its turn comes stays as it is.
        """
        before = time.time() - days * DAY
        queries = [self._query(before=before, status=status, limit=1000) for status in (CREATED, ACTIVE, SAVED)]
        return run(erasing.archive_found(self._commits, queries))

    def delete_inactive(self, days: Days = 30, *, status: str | None = None) -> int:
        """Delete the sessions that were not changed for so many days (status: only such); returns how many.

        One that is used again before its turn comes stays, and so does one that cannot be read.
        """
        return self._delete_such(before=time.time() - days * DAY, status=status)

    def delete_archived(self) -> int:
        """Delete all archived sessions; returns how many. One that is used again before its turn comes stays."""
        return self._delete_such(status=ARCHIVED)

    def _delete_such(self, **query: Any) -> int:
        return run(erasing.delete_found(self._commits, self._query(limit=1000, **query)))

    def clear_all(self) -> int:
        """Delete every session, broken ones too, and all shared state of this store; returns how many sessions there were.

        Sessions that are begun meanwhile, forks too, may stay. A bound manager: as `delete_user`.
        """
        if self.user_id is not None:
            return self.delete_user(self.user_id)
        return run(erasing.delete_all_of(self._commits, None))

    def sweep(self, *, repair: bool = False, older_than: Seconds = 3600) -> int:
        """How many deletions, forks, imports and copies were cut short; repair: clear away what they left.

        older_than: seconds after which whoever began one is taken to be gone. `AccessDenied` for a bound manager.
        `CorruptStore`, once all others were seen to, where some of them cannot be read: it names each.
        """
        if self.user_id is not None:
            raise AccessDenied(f"this manager is bound to user {self.user_id!r}, and a sweep goes through everybody's sessions")
        return run(erasing.sweep(self._commits, repair=repair, older_than=older_than))

    def search(self, text: str, *, user_id: str | None = None, limit: Count = 20) -> builtins.list[Hit]:
        """Messages that have all words of `text`: best first where the store has an index, else newest session first.

        Words are runs of letters and digits, whole ones, whatever their case and accents (see `sessile.store.words`).
        `"late parcel"` in quotes is a phrase, `parc*` the beginning of a word. `user:ID` and `session:ID` say whose, and in
        which session's history, `after:2026-11-30` (or a time, UTC) when it was said; the rest of the text is words.

        At most `limit`. A text without words finds nothing, nor does one with a NUL. A session that cannot be read is left out.
        A message that forks inherit is found once: in the session in which it was said; where that is gone, or counts it no
        more, in the oldest fork that counts it; with `session:ID` in that one.
        `InvalidInput` for a text or user id that is no text that can be stored, a filter that means nothing or is another than
        `user_id`, or a limit that is no number from 0; `AccessDenied` for a bound manager that is asked for another's.
        """
        query = SearchQuery.parse(text)
        whose = self._whose(user_id) or self._whose(query.user_id)
        if query.user_id not in (None, whose):
            self._whose(query.user_id)  # it may be refused for that
            raise InvalidInput(f"text asks for user:{query.user_id}, and user_id is {whose!r}: leave one of them out")
        if not limit or not query.terms or "\0" in text:  # no index has a NUL
            return []
        query = attrs.evolve(query, user_id=whose)
        return list(islice(Search(self._commits, query).hits(lambda: self.each(user_id=whose), limit), limit))

    def message(self, message_id: str, *, user_id: str | None = None) -> Hit | None:
        """The message of an id with the session in which it was said (as `search` finds it); None where it counts in none.

        No store has an index of these: the sessions are read one by one, newest change first. `Session.message` is for who
        knows the session. Where several messages were given one id, one of them.
        """
        user_id = self._whose(user_id)
        search = Search(self._commits, SearchQuery(terms=(), user_id=user_id))
        return search.first(self.each(user_id=user_id), lambda entry: entry.id == message_id)

    def _call(self, method: Any, *args: Any, **kwargs: Any) -> Any:
        return run(self._commits.face.call(method, *args, **kwargs))

    def close(self) -> None:
        """Close a store that was opened here."""
        self._release()

    def __enter__(self) -> SessionManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
