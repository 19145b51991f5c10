"""One session in the other face: what a hook or a layer of middleware is given that cannot use the user's.

A view shares everything with the user's session: what is known of it, the lease, state under "temp:", the agents, being
closed. It has its own face, its own side of the store, and what it reads from there.
"""

from __future__ import annotations

from typing import Any

from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import teller
from sessile.engine.handle import Handle
from sessile.session.asynchronous import AsyncSession
from sessile.session.base import BaseSession
from sessile.session.blocking import Session


class HandleView(Handle):
    """A handle that shares another's `__dict__`, except the attributes in `__slots__`, which are its own."""

    __slots__ = ("_ahead", "_past", "adopt", "commits", "face", "scopes", "session", "store")

    def __init__(self, of: Handle, store: Any, session: BaseSession) -> None:
        self.__dict__ = of.__dict__
        self.face = of.face.other()
        self.store = self.face.native(store)
        self.commits = Commits(self.face, self.store, of.timeout)
        self.commits.tell_gone = teller(self.face, of.plugins, strict=of.strict)
        self.session, self.adopt = session, session._another
        self._past, self._ahead, self.scopes = None, [], {}


class SessionView(Session):
    """A blocking session that shares with an async one all but the handle."""

    __slots__ = ("_handle",)

    def __init__(self, of: BaseSession) -> None:
        self.__dict__ = of.__dict__
        self._handle = HandleView(of._handle, of._store, self)


class AsyncSessionView(AsyncSession):
    """An async session that shares with a blocking one all but the handle."""

    __slots__ = ("_handle",)
    __init__ = SessionView.__init__
