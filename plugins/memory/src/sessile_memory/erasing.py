"""What is made of a session goes when the session goes: in the usual place, and in each file that this process has open."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sessile import SessionManager
from sessile.errors import SessileError
from sessile_memory.following import Following
from sessile_memory.memory import path_of
from sessile_memory.opening import open_table, open_tables, release_table


def erase(session_id: str, user_id: str, store: Any) -> int:
    """Erase what a deleted session leaves in memories, but for what forks inherit and what was promoted; how many items."""
    usual = path_of({})
    own = open_table(usual, None) if usual is not None and usual.exists() else None
    try:
        there = _log_of(session_id, store)
        tables = [*open_tables(), *([own] if own is not None and own not in open_tables() else [])]
        files = {str(table.database.path): table for table in tables}
        return sum(Following(table, False).forget(user_id, session_id, there) for table in files.values())
    finally:
        if own is not None:
            release_table(own)


def _log_of(session_id: str, store: Any) -> str:
    """The log of the session that has an id now; "" for none."""
    with suppress(SessileError), SessionManager(store) as manager:
        found = manager.get_session(session_id)
        if found is not None:
            with found:
                cursor = found.changes().cursor
                return str(cursor["logs"][-1]) if cursor else ""
    return ""
