"""A document-style store, as its users write one."""

from __future__ import annotations

from typing import Any

from sessile import Session, SessionStore


class Documents(SessionStore):
    """The simplest store there is."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] = {}

    async def save(self, session: Any) -> None:
        self.kept[session.session_id] = session.to_dict()

    async def get(self, session_id: str) -> Any:
        return Session.from_dict(self.kept[session_id]) if session_id in self.kept else None

    async def delete(self, session_id: str) -> None:
        self.kept.pop(session_id, None)

    async def list_for_user(self, user_id: str) -> list[Any]:
        return [session for session in map(Session.from_dict, self.kept.values()) if session.user_id == user_id]
