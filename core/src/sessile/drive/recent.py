"""A memory of what was used last, which a store may keep without growing for ever."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Recent(OrderedDict[K, V]):
    """A dict with a maximum size: the least recently used entry is removed first.

    Threads may share it.
    """

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def get(self, key: K, default: Any = None) -> Any:
        """The value of a key, which counts as used; `default` where there is none."""
        try:
            self.move_to_end(key)
            return self[key]
        except KeyError:
            return default

    def __setitem__(self, key: K, value: V) -> None:
        super().__setitem__(key, value)
        try:
            self.move_to_end(key)
            if len(self) > self._most:
                self.popitem(last=False)
        except KeyError:  # taken away by another thread
            pass
