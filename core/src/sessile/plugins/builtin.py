"""The core's own plugin: what is there without any other."""

from __future__ import annotations

from sessile.plugins.hookspecs import hookimpl
from sessile.plugins.registry import Registry


@hookimpl
def register(registry: Registry) -> None:
    registry.add("store", "memory", "sessile.store.memory:MemorySessionStore")
    registry.add("model", "echo", "sessile.conversation.model:EchoModel")
