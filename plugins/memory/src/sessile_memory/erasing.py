"""What is made of a session goes when the session goes: in the usual place, and in each file that this process has open."""

from __future__ import annotations

from sessile_memory.following import Following
from sessile_memory.memory import path_of
from sessile_memory.opening import open_table, open_tables, release_table


def erase(user_id: str, log: str) -> int:
    """Erase what a deleted session, whose log this was, leaves but for what forks inherit and was promoted; how many items."""
    usual = path_of({})
    own = open_table(usual, None) if usual is not None and usual.exists() else None
    try:
        files = {str(table.database.path): table for table in open_tables()}
        count = 0
        for table in files.values():
            if gone := Following(table, False).forget(user_id, log):
                table.index.erase()
                count += gone
        return count
    finally:
        if own is not None:
            release_table(own)
