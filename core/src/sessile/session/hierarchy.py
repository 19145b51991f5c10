"""Forks and snapshots by session id, without a handle."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sessile.conversation.messages import draft
from sessile.conversation.taking import as_message
from sessile.drive.arguments import checked_class
from sessile.drive.faces import run
from sessile.engine.state import check_own_key
from sessile.errors import InvalidInput, SessionNotFound
from sessile.log.encoding import JSON, json_value
from sessile.log.header import DEFAULT_USER
from sessile.log.ids import new_id
from sessile.session.blocking import Session
from sessile.session.managing.default import DefaultSessionStore
from sessile.transfer.saving import SavedSession, restore

__all__ = ["HierarchicalSessionStore"]

_SHARED = "shared"  # the metadata key of the sharing flag


@checked_class
class HierarchicalSessionStore(DefaultSessionStore):
    """A `DefaultSessionStore` whose sessions can be forked, labelled and reverted. Message indexes begin at 0."""

    def create_session(self, session_id: str | None = None, title: str = "", user_id: str = DEFAULT_USER) -> str:
        """Store a new session and return its id. `SessionExists` where the id is taken."""
        return self.manager.create_session(user_id, session_id=session_id, title=title or "").session_id

    def fork_session(self, session_id: str, from_message_index: int | None = None, title: str = "") -> str:
        """A new session with this one's messages up to and including an index (None: all). Returns its id."""
        session = self._existing(session_id)
        count = None if from_message_index is None else self._count(session, from_message_index)
        return str(session.fork(count, new_id(), title=title or "").session_id)

    def create_snapshot(self, session_id: str, label: str = "", metadata: dict[str, JSON] | None = None) -> str:
        """Label the session as it is now. Returns the snapshot's id."""
        return self._existing(session_id).snapshot(label or "", metadata).id

    def get_snapshots(self, session_id: str) -> list[dict[str, Any]]:
        """The snapshots of a session, oldest first: id, label, message_count, created_at and metadata."""
        return [
            {
                "id": snapshot.id,
                "session_id": snapshot.session_id,
                "label": snapshot.label,
                "message_count": snapshot.count,
                "created_at": snapshot.time,
                "metadata": snapshot.metadata,
            }
            for snapshot in self._existing(session_id).snapshots()
        ]

    def revert_to_snapshot(self, session_id: str, snapshot_id: str) -> bool:
        """Make the session count up to a snapshot only. `InvalidInput` for one that is not this session's."""
        self._existing(session_id).revert(snapshot_id)
        return True

    def revert_to_message(self, session_id: str, message_index: int) -> bool:
        """Make the session count up to and including a message only."""
        session = self._existing(session_id)
        session.revert(self._count(session, message_index))
        return True

    def get_children(self, session_id: str) -> list[str]:
        """The ids of the sessions that were forked from this one."""
        return [header.session_id for header in self._existing(session_id).children()]

    def get_parent(self, session_id: str) -> str | None:
        """The id of the session that this one was forked from, or None."""
        parent: str | None = self._existing(session_id).parent
        return parent

    def get_session_tree(self, session_id: str) -> dict[str, Any]:
        """The whole tree of forks that a session is in (see `Session.tree`)."""
        return self._existing(session_id).tree()

    def get_title(self, session_id: str) -> str:
        """A session's title; "" for none."""
        return str(self._existing(session_id).title)

    def set_title(self, session_id: str, title: str) -> bool:
        """Name a session."""
        self._existing(session_id).title = title
        return True

    def share_session(self, session_id: str, shared: bool = True) -> bool:
        """Set the flag that a session may be shown to others; what that means is the application's."""
        session = self._existing(session_id)
        session.metadata[_SHARED] = shared
        return True

    def unshare_session(self, session_id: str) -> bool:
        """Take the flag back."""
        return self.share_session(session_id, False)

    def is_shared(self, session_id: str) -> bool:
        """Is the flag set?"""
        return bool(self._existing(session_id).metadata.get(_SHARED))

    def export_session(self, session_id: str) -> dict[str, Any]:
        """A session as JSON values, with what it inherited, but not what it shares with others ("user:" and "app:" state).

        `import_session` reads it.
        """
        session = self._existing(session_id)
        header = run(session._handle.refresh())
        exported = {
            "session_id": session_id,
            "user_id": header.user_id,
            "title": header.title,
            "metadata": header.metadata,
            "state": header.state,
            "messages": session.messages,
        }
        copied: dict[str, Any] = json_value(exported, "session")
        return copied

    def import_session(self, data: dict[str, Any], session_id: str | None = None) -> str:
        """Store an exported session under its own id, or another. `SessionExists` where it is taken.

        `InvalidInput` for what is no exported session; nothing is written then.
        """
        data = _checked(data)
        about = {name: data[name] for name in ("title", "metadata", "state")}
        saved = SavedSession(data["session_id"], data["user_id"], about, [draft(said) for said in data["messages"]])
        session = Session(saved.session_id if session_id is None else session_id, user_id=saved.user_id, store=self.manager.store)
        run(restore(session._handle, saved, new=True))
        return session.session_id

    def _existing(self, session_id: str) -> Session:
        if not self.manager.exists(session_id):
            raise SessionNotFound(f"there is no session {session_id!r} here: create_session makes one")
        return Session(session_id, store=self.manager.store)

    @staticmethod
    def _count(session: Session, index: int) -> int:
        count: int = session.message_count
        if not isinstance(index, int) or isinstance(index, bool) or not 0 <= index < count:
            raise InvalidInput(f"Invalid message index {index!r}: session {session.session_id!r} has messages 0 to {count - 1}")
        return index + 1


def _checked(data: object) -> dict[str, Any]:
    """What `import_session` was given, with every field in place and of its type."""
    if not isinstance(data, Mapping):
        raise InvalidInput(f"an exported session is a dict, not {type(data).__name__} ({data!r:.60})")
    if missing := {"session_id", "user_id", "messages"} - set(data):
        raise InvalidInput(f"not an exported session: it has no {', '.join(sorted(missing))}")
    checked = {**data, "title": data.get("title") or "", "metadata": data.get("metadata") or {}, "state": data.get("state") or {}}
    for name, kind in (("title", str), ("metadata", dict), ("state", dict), ("messages", list)):
        if not isinstance(checked[name], kind):
            raise InvalidInput(f"{name!r} of an exported session is a {kind.__name__}, not {checked[name]!r:.60}")
    for name in ("metadata", "state"):
        checked[name] = json_value(checked[name], name)
    for key in checked["state"]:
        check_own_key(key)
    checked["messages"] = [as_message(said) for said in checked["messages"]]
    return checked
