"""The manager of the sessions in a store, in both faces. One line for each verb; what it does is in `verbs.py`."""

from __future__ import annotations

import copy
import functools
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import attrs

from sessile.drive.arguments import Arguments, Seconds, checked_class
from sessile.drive.faces import Awaiting, Blocking, Face, HasHandle, step_by_step
from sessile.engine.committing.commits import Commits
from sessile.engine.committing.deletion import teller
from sessile.log.ids import check_id
from sessile.plugins.discovery import installed
from sessile.session import asynchronous
from sessile.session.asynchronous import AsyncSession, awaited
from sessile.session.base import BaseSession
from sessile.session.blocking import Session, blocking, opening, opening_each, opening_if_there
from sessile.session.managing import verbs
from sessile.session.managing.handle import StoreHandle
from sessile.session.methods import as_method
from sessile.store.opening import StoreLike, find_store

T = TypeVar("T")
P = ParamSpec("P")


@checked_class
class BaseSessionManager:
    """What both faces of a manager share."""

    _face: Callable[[], Face]
    _kind: type[BaseSession]

    def __init__(self, store: StoreLike = None, *, backend: str | None = None, timeout: Seconds = 30) -> None:
        found, self._release = find_store(store, backend)
        face = self._face()
        commits = Commits(face, face.native(found), timeout)
        commits.tell_gone = teller(face, installed())
        self._handle = StoreHandle(face, found, commits, self._kind)

    def __repr__(self) -> str:
        bound = f", user_id={self.user_id!r}" if self.user_id is not None else ""
        return f"{type(self).__name__}({self.store!r}{bound})"

    @property
    def store(self) -> Any:
        """The store instance."""
        return self._handle.store

    @property
    def user_id(self) -> str | None:
        """The user that the manager is bound to; None: it is everybody's."""
        return self._handle.user_id

    def user(self, user_id: str) -> Self:
        """A manager of the same store that is bound to a user: what it makes, lists, opens and deletes is this user's.

        Another user's session is not listed or found, and raises `AccessDenied` where it is named. Closing is left to this one.
        """
        bound = copy.copy(self)
        bound._handle = attrs.evolve(self._handle, user_id=check_id(self._handle.whose(user_id), "user id"))
        bound._release = lambda: None
        return bound


def _async_iterating(
    verb: Callable[Concatenate[Any, P], AsyncGenerator[T]],
) -> Callable[Concatenate[Any, P], AsyncGenerator[T]]:
    """A verb that returns one thing after the other as a method of `AsyncSessionManager`."""
    check = Arguments(verb, skip=1)

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
        check(args, kwargs)
        found: AsyncGenerator[T] = self._handle.perform(verb, args, kwargs)
        return found

    as_method(method, verb)
    return method


def _iterating(verb: Callable[Concatenate[Any, P], AsyncGenerator[T]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """As `_async_iterating`, for `SessionManager`."""
    begun = _async_iterating(verb)

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return step_by_step(begun(self, *args, **kwargs))

    as_method(method, verb, AsyncGenerator="Iterator")
    return method


@checked_class
class SessionManager(BaseSessionManager):
    """The sessions of one store. store: as for `Session`; one opened here is closed by `close` or at the end of `with`.

    timeout: seconds to wait for other writers, or for a store that does not answer, before a call fails.

    A manager that `user` returns is bound to one user: a call that names another raises `AccessDenied`.
    """

    _face, _kind = Blocking, Session

    create_session = opening(verbs.create_session)
    get_session = opening_if_there(verbs.get_session)
    get_sessions_for_user = opening_each(verbs.get_sessions_for_user)
    import_session = opening(verbs.import_session)
    save = blocking(verbs.save)

    list = blocking(verbs.list)
    each = _iterating(verbs.each)
    exists = blocking(verbs.exists)
    search = blocking(verbs.search)
    message = blocking(verbs.message)

    delete = blocking(verbs.delete)
    delete_user = blocking(verbs.delete_user)
    delete_inactive = blocking(verbs.delete_inactive)
    delete_archived = blocking(verbs.delete_archived)
    archive_inactive = blocking(verbs.archive_inactive)
    clear_all = blocking(verbs.clear_all)
    sweep = blocking(verbs.sweep)

    def close(self) -> None:
        """Close a store that was opened here."""
        self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@checked_class
class AsyncSessionManager(BaseSessionManager):
    """A `SessionManager` whose methods are awaited, and whose sessions are `AsyncSession`s: `async for header in each()`."""

    _face, _kind, _opened = Awaiting, AsyncSession, AsyncSession._opened

    create_session = asynchronous.opening(verbs.create_session)
    get_session = asynchronous.opening_if_there(verbs.get_session)
    get_sessions_for_user = asynchronous.opening_each(verbs.get_sessions_for_user)
    import_session = asynchronous.opening(verbs.import_session)
    save = awaited(verbs.save)

    list = awaited(verbs.list)
    each = _async_iterating(verbs.each)
    exists = awaited(verbs.exists)
    search = awaited(verbs.search)
    message = awaited(verbs.message)

    delete = awaited(verbs.delete)
    delete_user = awaited(verbs.delete_user)
    delete_inactive = awaited(verbs.delete_inactive)
    delete_archived = awaited(verbs.delete_archived)
    archive_inactive = awaited(verbs.archive_inactive)
    clear_all = awaited(verbs.clear_all)
    sweep = awaited(verbs.sweep)

    async def close(self) -> None:
        """Close a store that was opened here."""
        await self._handle.face.call(self._release)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
