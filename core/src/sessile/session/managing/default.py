"""Direct access to sessions by id, without a handle: `get_default_session_store()`."""

from __future__ import annotations

import functools
import os
from typing import Any
from urllib.parse import quote

from sessile.drive.arguments import Count, Positive, Seconds, checked_class
from sessile.errors import InvalidInput, SessionNotFound
from sessile.log.encoding import JSON
from sessile.session.blocking import Session
from sessile.session.live.open_sessions import OpenSessions
from sessile.session.managing.manager import SessionManager
from sessile.store.opening import StoreLike, default_url


@checked_class
class DefaultSessionStore:
    """Messages by session id. Everything is durable when a method returns.

    store: as for `Session`. session_dir: a folder for the file store instead. max_messages: how many messages
    `get_chat_history` returns at most (None: all); the log keeps them all. lock_timeout: seconds to wait for another
    process's lock, for a file or SQLite store that is opened here: others who have it open keep theirs.
    """

    def __init__(
        self,
        store: StoreLike = None,
        *,
        session_dir: str | os.PathLike[str] | None = None,
        max_messages: Count | None = None,
        lock_timeout: Seconds | None = None,
    ) -> None:
        if session_dir is not None:
            if store is not None:
                raise InvalidInput("store and session_dir both say where sessions are kept: pass one of them")
            store = f"file://{quote(os.path.abspath(session_dir))}"
        self.manager = SessionManager(store if lock_timeout is None else _patient(store, lock_timeout))
        self.max_messages = max_messages
        self._sessions = OpenSessions(lambda session_id: Session(session_id, store=self.manager.store))

    def add_message(self, session_id: str, role: str, content: JSON, metadata: dict[str, JSON] | None = None) -> bool:
        """Append a message; the session is made with its first. True, or what `Session.add_message` raises."""
        try:
            self._add(session_id, role, content, metadata)
        except SessionNotFound:  # deleted by somebody else: this is a new one's first message
            self._add(session_id, role, content, metadata)
        return True

    def _add(self, session_id: str, role: str, content: JSON, metadata: dict[str, JSON] | None) -> None:
        with self._sessions.use(session_id) as session:
            session.add_message(role, content, metadata)

    def add_user_message(self, session_id: str, content: JSON, metadata: dict[str, JSON] | None = None) -> bool:
        """Append what the user said."""
        return self.add_message(session_id, "user", content, metadata)

    def add_assistant_message(self, session_id: str, content: JSON, metadata: dict[str, JSON] | None = None) -> bool:
        """Append what the assistant said."""
        return self.add_message(session_id, "assistant", content, metadata)

    def get_chat_history(self, session_id: str, max_messages: Count | None = None) -> list[dict[str, Any]]:
        """[{"role", "content"}] of the last messages, oldest first; [] for an unknown id, which leaves no trace."""
        limit = self.max_messages if max_messages is None else max_messages
        messages = Session(session_id, store=self.manager.store).get_history(limit)
        return [{"role": said.role, "content": said.content} for said in messages]

    def list_sessions(self, limit: Positive = 50) -> list[dict[str, Any]]:
        """What is known of the latest sessions, newest change first: ids, title, status, count and times."""
        return [header.summary() for header in self.manager.list(limit=limit).items]

    def session_exists(self, session_id: str) -> bool:
        """Is there such a session?"""
        return self.manager.exists(session_id)

    def delete_session(self, session_id: str) -> bool:
        """Delete a session; False where there was none."""
        self.invalidate_cache(session_id)
        return self.manager.delete(session_id)

    def invalidate_cache(self, session_id: str | None = None) -> None:
        """Forget open handles, of one session or all. Never needed for freshness: reads always ask the store."""
        self._sessions.forget_all() if session_id is None else self._sessions.forget(session_id)


def _patient(store: Any, lock_timeout: float) -> str:
    """A store's URL with a lock_timeout in it, so that those who open the store without one are not concerned."""
    url = default_url() if store is None else store
    if not isinstance(url, (str, os.PathLike)):
        kind = type(store).__name__
        way = f"make the {kind} with it" if hasattr(store, "lock_timeout") else f"a {kind} has no lock"
        raise InvalidInput(f"lock_timeout is {lock_timeout} for a store of yours: {way}, and leave it out here")
    url = os.fspath(url)
    return f"{url}{'&' if '?' in url else '?'}lock_timeout={lock_timeout}"


def get_default_session_store() -> DefaultSessionStore:
    """The store of $SESSILE_STORE, else the file store in ~/.sessile/sessions; one a process for each place."""
    return _default(os.environ.get("SESSILE_STORE"), os.path.expanduser("~"))


@functools.cache
def _default(url: str | None, home: str) -> DefaultSessionStore:
    return DefaultSessionStore(url)
