"""When sessions expire: each so long after its last change, and what it was forked from not before it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sessile.native import maybe

_SESSIONS = 10_000  # so many are remembered


class Expiry:
    """What an engine has to do about it; nothing without a `ttl` (seconds)."""

    def __init__(self, sessions: Any, buckets: Any, ttl: float | None) -> None:
        self.sessions = sessions
        self.buckets = buckets
        self.ttl = ttl
        self.ready = ttl is None  # are the indexes there?
        self._expiring: set[str] = set()  # sessions that are to stay, but were not when they were last seen
        self._touched: dict[str, float] = {}  # by session, when what it reads was last kept alive

    async def prepare(self) -> None:
        """Make the indexes by which the server removes what has expired: only where something ever does."""
        if not self.ready:
            for collection in (self.sessions, self.buckets):
                await maybe(collection.create_index("expires_at", expireAfterSeconds=0))
            self.ready = True

    def fields(self, times: int = 1) -> dict[str, Any]:
        """What is set in a document that is written now. times: for how many `ttl` it is to live."""
        return {"expires_at": _now() + timedelta(seconds=self.ttl * times)} if self.ttl is not None else {}

    def alive(self, condition: dict[str, Any]) -> dict[str, Any]:
        """A condition that is not met by what has expired, which the server removes some time later."""
        return {**condition, "expires_at": {"$not": {"$lt": _now()}}} if self.ttl is not None else condition

    def over(self, document: Mapping[str, Any]) -> bool:
        """Has it expired?"""
        expires_at = document.get("expires_at") if self.ttl is not None else None
        return expires_at is not None and expires_at.replace(tzinfo=UTC) < _now()

    async def clear(self, session_id: str) -> bool:
        """Remove a session that has expired. Returns whether there was one."""
        if self.ttl is None:
            return False
        gone = {"_id": session_id, "expires_at": {"$lt": _now()}}
        return bool((await maybe(self.sessions.delete_one(gone))).deleted_count)

    async def ancestors(self, session_id: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """What a commit sets to tell the ids of all logs that a session may read, nearest first."""
        parent, names = changes.get("parent"), changes.get("renamed") or {}
        if not parent and not names:
            return {}
        ancestors = [*([parent] if parent else ()), *await self._above(parent or session_id)]
        return {"ancestors": list(dict.fromkeys(names.get(name, name) for name in ancestors))}

    def saw(self, document: Mapping[str, Any]) -> None:
        """Note a session that another store had given a `ttl`, where this one has none."""
        if self.ttl is None and document.get("expires_at") is not None:
            self._expiring.add(document["_id"])

    async def touch(self, session_id: str) -> None:
        """Keep alive what a session reads, when that was not done in the last tenth of its time; without a `ttl`, that and
        the session itself for ever, which another store had given one."""
        if self.ttl is None:
            if session_id in self._expiring:
                await self._keep(session_id, await self._above(session_id))
            return
        now = time.monotonic()
        if now - self._touched.get(session_id, -float("inf")) < self.ttl / 10:
            return
        if ancestors := await self._above(session_id):
            expiring = {"expires_at": {"$type": "date"}}  # not what is to stay for ever
            await maybe(self.sessions.update_many({"_id": {"$in": ancestors}, **expiring}, {"$max": self.fields()}))
            await maybe(self.buckets.update_many({"session": {"$in": ancestors}, **expiring}, {"$max": self.fields(2)}))
        await maybe(self.buckets.update_many({"session": session_id}, {"$max": self.fields(2)}))
        if len(self._touched) >= _SESSIONS:
            self._touched.clear()
        self._touched[session_id] = now

    async def _keep(self, session_id: str, ancestors: list[str]) -> None:
        never = {"$unset": {"expires_at": ""}}
        await maybe(self.buckets.update_many({"session": {"$in": [session_id, *ancestors]}}, never))
        await maybe(self.sessions.update_many({"_id": {"$in": ancestors}}, never))
        await maybe(self.sessions.update_one({"_id": session_id}, never))  # last: else it would not be seen again
        self._expiring.discard(session_id)

    async def _above(self, session_id: str) -> list[str]:
        document = await maybe(self.sessions.find_one({"_id": session_id}, {"ancestors": 1}))
        return (document or {}).get("ancestors") or []


def _now() -> datetime:
    return datetime.now(UTC)
