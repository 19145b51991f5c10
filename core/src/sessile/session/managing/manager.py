"""The manager of the sessions in a store, in both faces. One line for each verb; what it does is in `verbs.py`."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

import attrs

from sessile.drive.arguments import Arguments, Seconds, checked_class
from sessile.drive.faces import Awaiting, Blocking, Face, HasHandle, step_by_step
from sessile.engine.committing.commits import Commits
from sessile.engine.handle import Handle
from sessile.log.ids import check_id
from sessile.session.asynchronous import AsyncSession, awaited
from sessile.session.base import BaseSession
from sessile.session.blocking import Session, blocking
from sessile.session.managing import verbs
from sessile.session.managing.verbs import StoreHandle
from sessile.session.verbs import as_method
from sessile.store.opening import StoreLike, find_store

T = TypeVar("T")
S = TypeVar("S")
P = ParamSpec("P")


@checked_class
class BaseManager:
    """What both faces of a manager share."""

    _face: Callable[[], Face]
    _kind: type[BaseSession]

    def __init__(self, store: StoreLike = None, *, backend: str | None = None, timeout: Seconds = 30) -> None:
        found, self._release = find_store(store, backend)
        face = self._face()
        self._handle = StoreHandle(face, found, Commits(face, face.native(found), timeout), self._kind)

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
        bound = object.__new__(type(self))
        bound._handle = attrs.evolve(self._handle, user_id=check_id(self._handle.whose(user_id), "user id"))
        bound._release = lambda: None
        return bound


def _opening(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], opened: Callable[[T], S]
) -> Callable[Concatenate[Any, P], S]:
    """A verb that returns handles as a method of `SessionManager`. opened: makes sessions of them."""
    of_handles = blocking(verb)

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> S:
        return opened(of_handles(self, *args, **kwargs))

    as_method(method, verb, opened.__annotations__["return"])
    return method


def _opening_awaited(
    verb: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]], opened: Callable[[T], S]
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, S]]:
    """As `_opening`, for `AsyncSessionManager`."""
    of_handles = awaited(verb)

    @functools.wraps(verb)
    async def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> S:
        return opened(await of_handles(self, *args, **kwargs))

    as_method(method, verb, opened.__annotations__["return"])
    return method


def _session(handle: Handle) -> Session:
    return handle.session  # type: ignore[no-any-return]


def _session_or_none(handle: Handle | None) -> Session | None:
    return None if handle is None else handle.session


def _sessions(handles: list[Handle]) -> list[Session]:
    return [handle.session for handle in handles]


def _async_session(handle: Handle) -> AsyncSession:
    return handle.session  # type: ignore[no-any-return]


def _async_session_or_none(handle: Handle | None) -> AsyncSession | None:
    return None if handle is None else handle.session


def _async_sessions(handles: list[Handle]) -> list[AsyncSession]:
    return [handle.session for handle in handles]


def _async_iterating(verb: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> Callable[Concatenate[Any, P], AsyncIterator[T]]:
    """A verb that returns one thing after the other as a method of `AsyncSessionManager`."""
    check = Arguments(verb, skip=1)

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        check(args, kwargs)
        found: AsyncIterator[T] = self._handle.perform(verb, args, kwargs)
        return found

    as_method(method, verb)
    return method


def _iterating(verb: Callable[Concatenate[Any, P], AsyncIterator[T]]) -> Callable[Concatenate[Any, P], Iterator[T]]:
    """As `_async_iterating`, for `SessionManager`."""
    begun = _async_iterating(verb)

    @functools.wraps(verb)
    def method(self: HasHandle, /, *args: P.args, **kwargs: P.kwargs) -> Iterator[T]:
        return step_by_step(begun(self, *args, **kwargs))

    as_method(method, verb, "Iterator[Header]")
    return method


@checked_class
class SessionManager(BaseManager):
    """The sessions of one store. store: as for `Session`; one opened here is closed by `close` or at the end of `with`.

    timeout: seconds to wait for other writers, or for a store that does not answer, before a call fails.

    A manager that `user` returns is bound to one user: a call that names another raises `AccessDenied`.
    """

    _face, _kind = Blocking, Session

    create_session = _opening(verbs.create_session, _session)
    get_session = _opening(verbs.get_session, _session_or_none)
    get_sessions_for_user = _opening(verbs.get_sessions_for_user, _sessions)
    import_session = _opening(verbs.import_session, _session)
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

    def __enter__(self) -> SessionManager:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@checked_class
class AsyncSessionManager(BaseManager):
    """A `SessionManager` whose methods are awaited, and whose sessions are `AsyncSession`s: `async for header in each()`."""

    _face, _kind = Awaiting, AsyncSession

    create_session = _opening_awaited(verbs.create_session, _async_session)
    get_session = _opening_awaited(verbs.get_session, _async_session_or_none)
    get_sessions_for_user = _opening_awaited(verbs.get_sessions_for_user, _async_sessions)
    import_session = _opening_awaited(verbs.import_session, _async_session)
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

    async def __aenter__(self) -> AsyncSessionManager:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
