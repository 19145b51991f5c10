"""What is safe in a forked child, where the threads of the parent are not: a lock, and a cached property without one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar, overload
from weakref import WeakSet

T = TypeVar("T")


_made: WeakSet[Any] = WeakSet()


def new_lock(*, reentrant: bool = False) -> AbstractContextManager[Any]:
    """A lock of `threading` for `with`, which is free in a forked child whoever held it in the parent.

    It is a plain `threading` lock, as a wrapper in Python could be interrupted by a signal between taking and recording it.
    reentrant: may the thread that holds it take it again?
    """
    made: Any = threading.RLock() if reentrant else threading.Lock()
    _made.add(made)
    return made  # type: ignore[no-any-return]


def _free_all() -> None:
    for lock in list(_made):
        lock._at_fork_reinit()  # as the standard library does with its own


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_free_all)


class cached_property(Generic[T]):
    """`functools.cached_property` without its lock, which in Python 3.11 all instances share: a forked child may find it held."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type[Any]) -> cached_property[T]: ...

    @overload
    def __get__(self, instance: object, owner: type[Any]) -> T: ...

    def __get__(self, instance: object | None, owner: type[Any]) -> cached_property[T] | T:
        if instance is None:
            return self
        value = instance.__dict__[self._name] = self.compute(instance)
        return value
