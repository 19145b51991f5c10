"""What a manager's verbs are about: the sessions of a store, of all users or of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from difflib import get_close_matches
from typing import Any, TypedDict

import attrs

from sessile.drive.arguments import Arguments, Positive
from sessile.drive.faces import Face
from sessile.engine import lifecycle
from sessile.engine.committing.commits import Commits
from sessile.engine.handle import Handle
from sessile.engine.services import open_with_services
from sessile.errors import AccessDenied, InvalidArgument, InvalidInput
from sessile.log.header import STATUSES, UNSEEN, Header
from sessile.log.ids import check_id
from sessile.session.base import BaseSession, SessionOptions
from sessile.store.waist import Query

_check_query = Arguments(Query.__init__, skip=1)


class QueryFields(TypedDict, total=False):
    """The fields of a `sessile.store.Query`, as keywords."""

    user_id: str | None
    status: str | None
    parent: str | None
    root: str | None
    prefix: str
    before: float | datetime | None
    after: float | datetime | None
    limit: Positive
    cursor: str | None


@attrs.frozen
class StoreHandle:
    """A handle of all sessions of a store, or of one user's: what a manager's verbs are about.

    store: as it was opened. kind: the class of the sessions that are opened in it. user_id: whose they are; None: everybody's.
    """

    face: Face
    store: Any
    commits: Commits
    kind: type[BaseSession]
    user_id: str | None = None

    def perform(self, verb: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Do a verb: the coroutine of it."""
        return verb(self, *args, **kwargs)

    def whose(self, user_id: str | None) -> str | None:
        """Whose sessions a call is about; None: everybody's. `AccessDenied` where that is another than they are."""
        if user_id is not None:
            check_id(user_id, "user id")
        if self.user_id is not None and user_id not in (None, self.user_id):
            raise AccessDenied(f"this manager is bound to user {self.user_id!r}: it has no access to what is {user_id!r}'s")
        return self.user_id or user_id

    def query(self, query: QueryFields) -> Query:
        """What to ask the store for, checked. See `list`."""
        _check_query((), query)
        fields: dict[str, Any] = {**query, "user_id": self.whose(query.get("user_id"))}
        asked = Query(**fields)
        if asked.reserved:
            raise InvalidInput(f"prefix {asked.prefix!r} is of sessile's own records, which are no sessions: ask for another one")
        if asked.status in UNSEEN:
            use = ", ".join(STATUSES)
            raise InvalidInput(f"status {asked.status!r} is internal (a session being made or deleted): use one of {use}")
        return asked

    async def open(
        self, session_id: str | None, user_id: str | None, options: Any = None, metadata: Any = None
    ) -> tuple[Handle, Header]:
        """The handle of a session that is opened, and its header."""
        options = {"timeout": self.commits.timeout, **_checked(options or {})}
        handle = self.kind(session_id, user_id=user_id, store=self.store, metadata=metadata, **options)._handle
        handle.bound = self.user_id is not None
        try:
            return handle, await open_with_services(handle)
        except BaseException:
            await lifecycle.close(handle)
            raise


def _checked(options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of a session that is opened; `InvalidArgument` for others."""
    if given := options.keys() & {"store", "backend", "db"}:
        raise InvalidInput(f"{', '.join(sorted(given))}: where a session is kept is the manager's: leave it out")
    for name in options.keys() - SessionOptions.__annotations__.keys():
        near = get_close_matches(name, SessionOptions.__annotations__, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(SessionOptions.__annotations__)}."
        raise InvalidArgument(f"a session that a manager opens has no option {name!r}: {hint}")
    return options
