"""The core's own plugin: what is there without any other."""

from __future__ import annotations

from sessile.hookspecs import hookimpl
from sessile.registry import Registry


@hookimpl
def register(registry: Registry) -> None:
    registry.add("store", "memory", "sessile.memory_store:MemorySessionStore")
    registry.add("model", "echo", "sessile.model:EchoModel")
