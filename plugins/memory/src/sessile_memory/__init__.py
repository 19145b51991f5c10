"""sessile's memory: what matters about a user, recalled across sessions, each item with the place that it is from."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["AsyncSessionMemory", "Evidence", "Item", "Memory", "SessionMemory"]
if TYPE_CHECKING:
    from sessile_memory.items import Evidence as Evidence
    from sessile_memory.items import Item as Item
    from sessile_memory.memory import Memory as Memory
    from sessile_memory.service import AsyncSessionMemory as AsyncSessionMemory
    from sessile_memory.service import SessionMemory as SessionMemory
else:
    __getattr__ = lazily(
        __name__, Evidence="items", Item="items", Memory="memory", AsyncSessionMemory="service", SessionMemory="service"
    )
