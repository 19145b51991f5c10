"""Sessions that are kept open to be used again, a bounded number of them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from sessile.drive.locks import new_lock
from sessile.errors import SessionNotFound

MOST = 1000  # sessions kept open


@attrs.define(eq=False)
class _Slot:
    session: Any
    users: int = 0
    kept: bool = True  # to be used again?


class OpenSessions:
    """Sessions by id, opened by `open` when first used: at most `MOST`, the least recently used is closed, by `close`.

    Safe among threads. A session that is in use is closed once its last user is done.
    """

    def __init__(self, open: Callable[[str], Any], close: Callable[[Any], None] = lambda session: session.close()) -> None:
        self._open = open
        self._close = close
        self._lock = new_lock()
        self._slots: OrderedDict[str, _Slot] = OrderedDict()

    @contextmanager
    def use(self, session_id: str) -> Iterator[Any]:
        """The session of an id, which stays open as long as this lasts. One that turns out to be deleted is forgotten."""
        slot = self._enter(session_id)
        try:
            yield slot.session
        except SessionNotFound:
            self.forget(session_id, slot)
            raise
        finally:
            with self._lock:
                slot.users -= 1
            self._close_idle([slot])

    def _enter(self, session_id: str) -> _Slot:
        with self._lock:
            slot = self._slots.get(session_id)
            if slot is not None:
                slot.users += 1
                self._slots.move_to_end(session_id)
                return slot
        opened = _Slot(self._open(session_id), users=1)  # beside the lock: it asks the store
        with self._lock:
            slot = self._slots.setdefault(session_id, opened)
            if slot is not opened:  # another thread was faster
                opened.kept, opened.users, slot.users = False, 0, slot.users + 1
            over = [self._slots.popitem(last=False)[1] for _ in range(len(self._slots) - MOST)]
            for old in over:
                old.kept = False
        self._close_idle([opened, *over])
        return slot

    def forget(self, session_id: str, only: _Slot | None = None) -> None:
        """Keep the session of an id no longer. only: as long as it is this one."""
        with self._lock:
            slot = self._slots.get(session_id)
            if slot is None or only not in (None, slot):
                return
            del self._slots[session_id]
            slot.kept = False
        self._close_idle([slot])

    def forget_all(self) -> None:
        """Keep none of those that are open now."""
        for session_id in list(self._slots):
            self.forget(session_id)

    def _close_idle(self, slots: list[_Slot]) -> None:
        """Close those that nobody uses or keeps. Each is closed once, however many see that it is to be."""
        for slot in slots:
            with self._lock:
                session = None if slot.kept or slot.users else slot.session
                if session is not None:
                    slot.session = None
            if session is not None:
                self._close(session)
