"""Trying again after a conflict: how long to stand back, and when to give up. One policy for all that commits."""

from __future__ import annotations

import random
import time

from sessile.drive import Face
from sessile.errors import Conflict
from sessile.log import Header

_AT_ONCE = 2  # conflicts after which the next attempt does not wait
_LONGEST = 0.05  # seconds


def overtaken(session_id: str, found: Header | None) -> Conflict:
    """The error of a change to a session that is not any more as its user has seen it."""
    return Conflict(
        f"session {session_id!r} was changed by somebody else since this handle last read it: look what is new (such as "
        "session.messages), then do it again",
        found,
    )


class Retrying:
    """The conflicts of one commit. timeout: seconds from the first one after which it gives up. what: it commits to."""

    def __init__(self, face: Face, timeout: float, what: str) -> None:
        self._face = face
        self._timeout = timeout
        self._what = what
        self._conflicts = 0
        self._give_up = 0.0

    async def lost(self, conflict: Conflict) -> bool:
        """Stand back after a conflict, each caller for another time: one that never does would always win.

        Returns whether it has waited, so that what the conflict holds is old. `Conflict` when the time is over.
        """
        now = time.monotonic()
        self._give_up = self._give_up or now + self._timeout
        if now >= self._give_up:
            raise Conflict(
                f"others committed to {self._what} first for {self._timeout} s: try again, or pass a longer timeout",
                conflict.header,
            ) from conflict
        self._conflicts += 1
        if self._conflicts <= _AT_ONCE:
            return False
        await self._face.pause(random.random() * min(0.001 * 2 ** min(self._conflicts, 9), _LONGEST))
        return True
