"""The rule of leases, pure: who may commit to a session that somebody uses exclusively (see `exclusive.py`)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sessile.errors import LeaseLost, LockTimeout
from sessile.log.encoding import JSON


def held(lease: Mapping[str, JSON] | None) -> bool:
    """Is this lease still running?"""
    return lease is not None and bool(lease["until"] > time.time())


def may_commit(session_id: str, lease: Mapping[str, Any] | None, token: int | None) -> bool:
    """May a handle with this token commit? False: another has the lease now. `LeaseLost` where its own is over."""
    if token is None:
        return not held(lease)
    if lease is None or lease["token"] != token or not held(lease):
        raise LeaseLost(
            f"the lease on session {session_id!r} (token {token}) is over: nothing was committed. Take it anew, for longer, or "
            "renew it in time"
        )
    return True


def in_use(session_id: str, seconds: float) -> LockTimeout:
    """The error of a caller that has waited for so many seconds."""
    return LockTimeout(f"session {session_id!r} was used exclusively by another for {seconds} s: try again later")
