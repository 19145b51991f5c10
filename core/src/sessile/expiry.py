"""Expiry, in stores that let sessions expire: what a session inherits lives as long as the session.

The store lets a header and its own log expire by itself. The core extends the lives of the ancestors' logs, before the commit
that relies on it, and notes in the header until when it has, so that this happens about once in a tenth of the time.
"""

from __future__ import annotations

import time
from typing import Any

from sessile.commits import Commits
from sessile.log import PENDING, Header

MARGIN = 0.1  # of `ttl`, that a log lives longer than its header


def how_it_went(store: Any) -> str:
    """What became of a session that a store does not have any more."""
    return "was deleted" if getattr(store, "ttl", None) is None else "was deleted, or has expired,"


async def keep_inherited(commits: Commits, header: Header) -> dict[str, Any]:
    """Let what a session inherits live as long as the session will after its next commit; the header fields that say so."""
    ttl = getattr(commits.store, "ttl", None)
    if not header.ancestors or (ttl is None and header.kept is None):
        return {}
    if ttl is None:
        kept = None
    elif header.kept is None and header.status != PENDING:  # it stays, whatever this store does with others
        return {}
    else:
        until = time.time() + ttl
        if header.kept is not None and until <= header.kept:
            return {}
        kept = round(until + MARGIN * ttl, 3)
    for ancestor in header.ancestors:
        if ancestor.stop:
            await commits.tell(commits.store.touch, ancestor.log, kept)  # type: ignore[attr-defined]
    return {"kept": kept}
