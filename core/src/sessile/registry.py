"""The registry: names of stores, models and other parts, each a "module:attribute" that is imported on first use."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

import attrs

from sessile.errors import InvalidInput, NotInstalled

KINDS = ("store", "memory", "knowledge", "embedder", "model", "transport", "loader")

# What to install for well-known names that no plugin here registers.
_HOMES = {
    ("store", "postgresql"): "sessile-postgres",
    ("store", "rediss"): "sessile-redis",
    ("store", "mongodb+srv"): "sessile-mongodb",
    ("model", "smollm"): "sessile-smollm",
}
_CLASS_HOMES = {
    "FileSessionStore": "sessile-file",
    "SQLiteSessionStore": "sessile-sqlite",
    "RedisSessionStore": "sessile-redis",
    "PostgresSessionStore": "sessile-postgres",
    "MongoSessionStore": "sessile-mongodb",
}


@attrs.frozen
class Registration:
    """One name of one kind, and where it is found. `aliases` are other names, such as a store's URL schemes."""

    kind: str
    name: str
    target: str
    aliases: tuple[str, ...] = ()
    plugin: str = ""

    def load(self) -> Any:
        """Import the target."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


class Registry:
    """What the installed plugins provide, by kind and name."""

    def __init__(self) -> None:
        self.entries: list[Registration] = []
        self.plugin = ""  # whose register hook is running

    def add(self, kind: str, name: str, target: str, *, aliases: Iterable[str] = ()) -> None:
        """Register "module:attribute" under a name. The latest registration of a name wins."""
        if kind not in KINDS:
            raise InvalidInput(f"kind {kind!r} of {name!r} does not exist: use one of {', '.join(KINDS)}")
        module, colon, attribute = target.partition(":")
        if not (module and colon and attribute):
            raise InvalidInput(f"target {target!r} of {kind} {name!r} is not of the form 'module:attribute'")
        self.entries.insert(0, Registration(kind, name, target, tuple(aliases), self.plugin))

    def names(self, kind: str) -> list[str]:
        """The registered names of a kind, aliases left out."""
        return sorted({entry.name for entry in self.entries if entry.kind == kind})

    def find(self, kind: str, name: str) -> Registration:
        """The registration of a name or alias; `NotInstalled`, with the command that installs it, where there is none."""
        for entry in self.entries:
            if entry.kind == kind and name in (entry.name, *entry.aliases):
                return entry
        home = _HOMES.get((kind, name), f"sessile-{name}")
        installed = ", ".join(self.names(kind)) or "none"
        raise NotInstalled(f"no {kind} named {name!r} is installed (installed: {installed}). Try: pip install {home}")

    def load(self, kind: str, name: str) -> Any:
        """Import what is registered under a name."""
        return self.find(kind, name).load()

    def load_attribute(self, attribute: str) -> Any:
        """Import a registered class by its own name, such as "SQLiteSessionStore"; AttributeError where there is none."""
        for entry in self.entries:
            if entry.target.endswith(f":{attribute}"):
                return entry.load()
        if home := _CLASS_HOMES.get(attribute):
            raise NotInstalled(f"{attribute} is not installed. Try: pip install {home}")
        raise AttributeError(attribute)
