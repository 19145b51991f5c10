"""What is safe in a forked child, where the threads of the parent are not: a lock, and a cached property without one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

T = TypeVar("T")


class Lock:
    """A `threading.Lock` for `with`, which is free in a forked child whoever held it in the parent.

    reentrant: may the thread that holds it take it again?
    """

    def __init__(self, *, reentrant: bool = False) -> None:
        self._new: Callable[[], Any] = threading.RLock if reentrant else threading.Lock
        self._process = os.getpid()
        self._lock = self._new()

    def __enter__(self) -> None:
        if self._process != os.getpid():
            self._lock, self._process = self._new(), os.getpid()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class cached_property(Generic[T]):
    """`functools.cached_property` without its lock, which in Python 3.11 all instances share: a forked child may find it held."""

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self._compute = compute
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
        value = instance.__dict__[self._name] = self._compute(instance)
        return value
