"""The hook of the memory's own, for plugins that say what is worth keeping."""

from __future__ import annotations

from sessile.plugins import hookspec
from sessile.store import JSON


@hookspec
def score_memory(item: dict[str, JSON]) -> float | None:
    """Return how much an item is worth keeping, 0 to 1, or None for no opinion.

    item: its metadata, and "text", "kind" and "timestamp" (seconds since 1970). The results of all plugins are averaged; a
    scorer that was set on the memory counts alone instead. Implement it with `@hookimpl(optionalhook=True)`: without
    sessile-memory there is no such hook.
    """
