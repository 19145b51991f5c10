"""The registry: names of stores, models and other parts, each a "module:attribute" that is imported on first use."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import Any

import attrs

from sessile.drive.arguments import checked
from sessile.drive.locks import new_lock
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput, NotInstalled, NotRegistered

KINDS = ("store", "wrapper", "memory", "knowledge", "embedder", "model", "transport", "loader", "service")

# The packages that exist, by what they register: nobody is told to install a name that somebody else may take.
_PACKAGES = {
    ("store", "file"): "sessile-file",
    ("store", "sqlite"): "sessile-sqlite",
    **dict.fromkeys((("store", n) for n in ("redis", "rediss", "redis+cluster", "rediss+cluster")), "sessile-redis"),
    **dict.fromkeys((("store", n) for n in ("postgres", "postgresql")), "sessile-postgres"),
    **dict.fromkeys((("store", n) for n in ("mongodb", "mongodb+srv", "mongo")), "sessile-mongodb"),
    ("model", "smollm"): "sessile-smollm",
    ("model", "openai"): "sessile-openai",
    ("service", "memory"): "sessile-memory",
    ("embedder", "wordllama"): "sessile-wordllama",
    ("embedder", "minilm"): "sessile-minilm",
}
_CLASS_PACKAGES = {
    "FileSessionStore": "sessile-file",
    "SQLiteSessionStore": "sessile-sqlite",
    "RedisSessionStore": "sessile-redis",
    "PostgresSessionStore": "sessile-postgres",
    "MongoSessionStore": "sessile-mongodb",
    "SmolLM": "sessile-smollm",
    "OpenAIModel": "sessile-openai",
    "Memory": "sessile-memory",
    **dict.fromkeys(("Quality", "QualityFilter", "Judge"), "sessile-quality"),
    "WordLlamaEmbedder": "sessile-wordllama",
    "MiniLMEmbedder": "sessile-minilm",
}


@attrs.frozen(eq=False)
class Registration:
    """One name of one kind, and where it is found. `aliases` are other names, such as a store's URL schemes.

    Registrations compare by identity: instances made for one (`made`) are never used for another with the same name.
    """

    kind: str
    name: str
    target: str
    aliases: tuple[str, ...] = ()
    plugin: str = ""
    hooks: str = ""  # the module with a service's hooks
    made: dict[str, Any] = attrs.field(factory=dict, repr=False)  # instances, by the text they were asked for with
    lock: Any = attrs.field(factory=functools.partial(new_lock, reentrant=True), repr=False)  # of what makes them

    def load(self) -> Any:
        """Import the target."""
        module, _, attribute = self.target.partition(":")
        return getattr(import_module(module), attribute)


class Registry:
    """What plugins provide, by kind and name. base: a registry to start from; its entries are copied.

    kinds: what can be registered. hook_modules: with the hooks that plugins bring.
    """

    def __init__(self, base: Registry | None = None) -> None:
        self.entries: list[Registration] = list(base.entries) if base else []
        self.kinds: tuple[str, ...] = base.kinds if base else KINDS
        self.hook_modules: tuple[ModuleType, ...] = base.hook_modules if base else ()
        self.plugin = ""  # whose register hook is running

    def copy(self) -> Registry:
        """The registry as it is now, for `restore`."""
        other = Registry(self)
        other.plugin = self.plugin
        return other

    def restore(self, before: Registry) -> None:
        """Make it what it was when `before` was copied."""
        self.entries, self.kinds, self.hook_modules = list(before.entries), before.kinds, before.hook_modules
        self.plugin = before.plugin

    @checked
    def add(self, kind: str, name: str, target: str, *, aliases: Iterable[str] = (), hooks: str = "") -> None:
        """Register "module:attribute" under a name. The latest registration of a name wins.

        hooks: of a service, the name of a module with hooks that take part in sessions that are opened with it, and cost others
        nothing.
        """
        if kind not in self.kinds:
            raise NotRegistered(f"kind {kind!r} of {name!r} does not exist: use one of {', '.join(self.kinds)}")
        module, colon, attribute = target.partition(":")
        if not (module and colon and attribute):
            raise InvalidInput(f"target {target!r} of {kind} {name!r} is not of the form 'module:attribute'")
        if hooks and kind != "service":
            raise InvalidInput(f"hooks of {kind} {name!r}: only a service has hooks of its own, give others' by the entry point")
        self.entries.insert(0, Registration(kind, name, target, tuple(aliases), self.plugin, hooks))

    @checked
    def kind(self, name: str) -> None:
        """Add a new kind. From then on plugins can `add` and `find` names of this kind."""
        if not name.isidentifier():
            raise InvalidInput(f"{name!r} is no kind: pass one word, such as 'reranker'")
        self.kinds = (*self.kinds, name) if name not in self.kinds else self.kinds

    def hooks(self, module: ModuleType) -> None:
        """Bring hooks of a plugin's own: the functions of a module that are marked with `sessile.plugins.hookspec`.

        Others implement them as they do the core's, and `session.hook` calls them. `InvalidInput` where the module has none, or
        one that there is already.
        """
        if not isinstance(module, ModuleType):
            raise InvalidInput(f"{shorten(module)} has no hook specs: pass the module in which they are")
        if module not in self.hook_modules:
            self.hook_modules = (*self.hook_modules, module)

    def names(self, kind: str) -> list[str]:
        """The registered names of a kind, aliases left out."""
        return sorted({entry.name for entry in self.entries if entry.kind == kind})

    def has(self, kind: str, name: str) -> bool:
        """Is a name or alias registered?"""
        return any(entry.kind == kind and name in (entry.name, *entry.aliases) for entry in self.entries)

    def find(self, kind: str, name: str) -> Registration:
        """The registration of a name or alias; `NotInstalled`, with what to do, where there is none."""
        for entry in self.entries:
            if entry.kind == kind and name in (entry.name, *entry.aliases):
                return entry
        installed = ", ".join(self.names(kind)) or "none"
        raise NotInstalled(f"no {kind} named {name!r} is installed (installed: {installed}). {self._hint(kind, name)}")

    def _hint(self, kind: str, name: str) -> str:
        if package := _PACKAGES.get((kind, name)):
            return f"Try: pip install {package}"
        known = {n for entry in self.entries if entry.kind == kind for n in (entry.name, *entry.aliases)}
        near = get_close_matches(name, [*known, *(n for k, n in _PACKAGES if k == kind)], 1)
        if not near:
            return "Install the plugin that registers this name, or use one that is installed"
        package = "" if near[0] in known else f" (pip install {_PACKAGES[kind, near[0]]})"
        return f"Did you mean {near[0]!r}{package}?"

    def load(self, kind: str, name: str) -> Any:
        """Import what is registered under a name."""
        return self.find(kind, name).load()

    def load_attribute(self, attribute: str) -> Any:
        """Import a registered class by its own name, such as "SQLiteSessionStore"; AttributeError where there is none."""
        for entry in self.entries:
            if entry.target.endswith(f":{attribute}"):
                return entry.load()
        if package := _CLASS_PACKAGES.get(attribute):
            raise NotInstalled(f"{attribute} is not installed. Try: pip install {package}")
        raise AttributeError(attribute)


def lazily(package: str, **homes: str) -> Callable[[str], Any]:
    """A package's `__getattr__`: each name is imported from its module when it is first used.

    Registering a plugin imports its package, which must stay light: `__getattr__ = lazily(__name__, MyStore="store")`.
    """

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{package}.{homes[name]}"), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get


def is_given(option: Any) -> bool:
    """Is a service asked for by this option? None says nothing, and False that none is to be there."""
    return option is not None and option is not False


def refuse_untaken(registry: Registry, **options: Any) -> None:
    """Refuse options that no plugin takes, so that none is dropped. A service of an option's name takes it.

    `NotInstalled` where no plugin registers what is asked for. Values are not shown: they may hold keys.
    """
    for option, value in options.items():
        kind = _OPTION_KINDS.get(option, option)
        if not is_given(value) or registry.has("service", kind):
            continue
        asked = _asked_for(value)
        try:  # what a transport reaches is no service; others say which package has theirs
            found = registry.find(*((kind, asked) if kind == "transport" or registry.has(kind, asked) else ("service", kind)))
        except NotInstalled as error:
            raise NotInstalled(f"{option} needs a plugin: {error}") from error
        raise InvalidInput(
            f"{option} is not supported by plugin {found.plugin!r}, which registers {kind} {found.name!r}: leave it out"
        )


_OPTION_KINDS = {"agent_url": "transport", "persist_memory": "memory"}


def _asked_for(value: Any) -> str:
    """The registered name that `memory=`, `knowledge=` or `agent_url=` asks for."""
    if isinstance(value, str):
        return value.partition(":")[0]
    inner = value.get("vector_store", value) if isinstance(value, Mapping) else None
    return str(inner.get("provider", "local")) if isinstance(inner, Mapping) else "local"
