"""A set of plugins that are active: how they are found, loaded and ordered. How their hooks are called is in `calling.py`."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from sessile.drive.faces import is_async
from sessile.errors import InvalidInput, NotInstalled, NotRegistered
from sessile.plugins import builtin
from sessile.plugins.calling import HookCalls
from sessile.plugins.marking import Implementation, Specs, find_hooks, merged, specs_of
from sessile.plugins.registry import Registry

if TYPE_CHECKING:
    from importlib import metadata

logger = logging.getLogger("sessile")
GROUP = "sessile"


@attrs.frozen
class PluginInfo:
    """One plugin as `sessile plugins` shows it. status: "active", "blocked" or "broken" (`error` says why)."""

    name: str
    status: str
    distribution: str = ""
    version: str = ""
    hooks: tuple[str, ...] = ()
    registers: tuple[str, ...] = ()
    error: str = ""


class Plugins(HookCalls):
    """A set of active plugins and their registry.

    blocked: names of plugins that are not to be active. extra: modules, paths of files, or objects with hooks, whose
    methods count by their names. base: a set that this one is put upon, instead of discovering plugins: what it has
    registered, and what was made of that, is shared.
    """

    def __init__(
        self,
        *,
        blocked: Iterable[str] = (),
        extra: Iterable[object] = (),
        discover: bool = True,
        base: Plugins | None = None,
    ) -> None:
        self.registry: Registry = Registry(base.registry if base else None)
        self._base = base
        self._names: list[tuple[object, str]] = []  # the active plugins of this set, and what they are called
        self._hooks: dict[str, list[Implementation]] = {}  # of this set
        self._blocked: frozenset[str] = frozenset(blocked) | (base._blocked if base else frozenset())
        self._infos: dict[str, PluginInfo] = dict(base._infos) if base else {}
        self._unnamed: list[PluginInfo] = list(base._unnamed) if base else []  # those whose name another one has
        self._order: dict[str, list[Implementation]] = {}
        if base is None:
            self._add(builtin, PluginInfo("builtin", "active"), by_name=False)
            self._discover(_entry_points() if discover else ())
        self._add_all([*extra])

    def _add_all(self, plugins: Sequence[object]) -> None:
        """Make these active, and none that is broken: somebody asked for just them. Some may bring hooks that others have."""
        modules = self.registry.hook_modules
        infos = [self._added(plugin, None, log=False) for plugin in plugins]
        if self.registry.hook_modules != modules:
            infos = [self._look_again(plugin, info) for plugin, info in zip(plugins, infos, strict=True)]
        for info in infos:
            if info.status == "broken":
                raise InvalidInput(f"plugin {info.name!r} cannot be used: {info.error}")

    def _look_again(self, plugin: object, info: PluginInfo) -> PluginInfo:
        """Find what a plugin has of hooks that another one has brought after it was added."""
        if info.status == "broken" and self._infos.get(info.name) is info:
            del self._infos[info.name]
            return self._added(plugin, None, log=False)
        if info.status != "active":
            return info
        plugin = load_local(plugin) if isinstance(plugin, str) else plugin
        found = find_hooks(plugin, info.name, by_name=True, specs=self.specs)
        for hook in found.keys() - {*info.hooks}:
            self._hooks[hook] = merged(self._hooks.get(hook, []), [found[hook]])
        self._order.clear()
        return self._known(attrs.evolve(info, hooks=tuple(sorted(found))))

    def _discover(self, entry_points: Sequence[metadata.EntryPoint]) -> None:
        """Load plugins. Those that need a kind or a hook of one that is found later are tried again behind it."""
        while entry_points:
            left = [entry_point for entry_point in entry_points if not self._load(entry_point, patient=True)]
            if len(left) == len(entry_points):
                for entry_point in left:
                    self._load(entry_point)
                return
            entry_points = left

    def _load(self, entry_point: metadata.EntryPoint, *, patient: bool = False) -> bool:
        """Load a plugin. patient: False where it needs what no plugin has brought so far; nothing has happened then."""
        dist = entry_point.dist
        info = PluginInfo(entry_point.name, "active", dist.name if dist else "", dist.version if dist else "")
        if entry_point.name in self._blocked:
            self._known(attrs.evolve(info, status="blocked"))
            return True
        try:
            plugin = entry_point.load()
        except Exception as error:  # a broken plugin must not take the others down with it
            self._broken(info, "import", error)
            return True
        try:
            self._add(plugin, info, by_name=False, patient=patient)
        except NotRegistered:
            return False
        return True

    def _broken(self, info: PluginInfo, where: str, error: Exception, *, log: bool = True) -> PluginInfo:
        if log:
            logger.error("plugin %r is disabled: %s failed: %s: %s", info.name, where, type(error).__name__, error)
        broken = attrs.evolve(info, status="broken", error=f"{type(error).__name__}: {error}")
        if info.name not in self._infos:
            return self._known(broken)
        self._unnamed.append(broken)
        return broken

    def _known(self, info: PluginInfo) -> PluginInfo:
        self._infos[info.name] = info
        return info

    def add(self, plugin: object, name: str | None = None) -> PluginInfo:
        """Make a plugin active: a module, a file's path, or an object with hooks, whose unmarked methods count by their name.

        One that is active already stays as it is. `NotInstalled` where there is no such file.
        """
        return self._added(plugin, name, log=True)

    def _added(self, plugin: object, name: str | None, *, log: bool) -> PluginInfo:
        """As `add`. log: say what is broken; not where it is raised, or looked at once more."""
        if isinstance(plugin, str):
            info = PluginInfo(name or Path(plugin).stem, "active")
            try:
                plugin = load_local(plugin)
            except NotInstalled:
                raise
            except Exception as error:
                return self._broken(info, "import", error, log=log)
        else:
            info = PluginInfo(name or getattr(plugin, "__name__", None) or f"{type(plugin).__name__}-{id(plugin):x}", "active")
        known = self._name_of(plugin)
        return self._infos[known] if known is not None else self._add(plugin, info, by_name=True, log=log)

    def _name_of(self, plugin: object) -> str | None:
        """The name under which a plugin is active in this set; None where it is not."""
        found = next((name for known, name in self._names if known is plugin), None)
        return found if found is not None or self._base is None else self._base._name_of(plugin)

    def _add(self, plugin: object, info: PluginInfo, *, by_name: bool, patient: bool = False, log: bool = True) -> PluginInfo:
        self._order.clear()
        before = self.registry.copy()
        try:
            if info.name in self._infos:
                raise InvalidInput("another plugin has this name: rename one of them, or block that one")
            if info.name in self._blocked:
                return self._known(attrs.evolve(info, status="blocked"))
            found = self._hooks_of(plugin, info.name, by_name)
        except Exception as error:  # a broken plugin must not take the others down with it
            self.registry.restore(before)
            if patient and isinstance(error, NotRegistered):
                raise
            return self._broken(info, "register", error, log=log)
        self._names.append((plugin, info.name))
        for hook, impl in found.items():
            self._hooks[hook] = merged(self._hooks.get(hook, []), [impl])
        registers = sorted(f"{e.kind}:{e.name}" for e in self.registry.entries if e.plugin == info.name)
        return self._known(attrs.evolve(info, hooks=tuple(sorted(found)), registers=tuple(registers)))

    def _hooks_of(self, plugin: object, name: str, by_name: bool) -> dict[str, Implementation]:
        """A plugin's hooks, once it has registered what it brings: that may be hooks which it implements itself."""
        specs: Specs | None = self.specs  # that all of its hooks were found in
        try:
            found = find_hooks(plugin, name, by_name=by_name, specs=self.specs)
        except NotRegistered:  # it may bring that itself
            specs, found = None, find_hooks(plugin, name, by_name=by_name, specs=self.specs, known_only=True)
        if "register" in found:
            self._register(found["register"])
        return found if self.specs is specs else find_hooks(plugin, name, by_name=by_name, specs=self.specs)

    def _register(self, impl: Implementation) -> None:
        self.registry.plugin = impl.plugin_name
        if is_async(impl.function):
            raise InvalidInput("register is a plain function: nothing is awaited while plugins are discovered")
        impl.function(*([self.registry] if impl.wanted else []))

    @property
    def specs(self) -> Specs:
        """The hooks that there are: the core's, and what plugins have brought."""
        return specs_of(self.registry.hook_modules)

    def infos(self) -> list[PluginInfo]:
        """All plugins that were found, sorted by name. If two share a name, the active one comes first."""
        return sorted([*self._infos.values(), *self._unnamed], key=lambda info: info.name)

    def implementations(self, hook: str) -> list[Implementation]:
        """The implementations of a hook, in the order they are called: wrappers first."""
        if hook not in self._order:
            self._order[hook] = self._in_order(hook)[::-1]
        return self._order[hook]

    def _in_order(self, hook: str) -> list[Implementation]:
        own = self._hooks.get(hook, [])
        return own if self._base is None else merged(self._base._in_order(hook), own)


@functools.cache
def _entry_points() -> tuple[metadata.EntryPoint, ...]:
    from importlib import metadata  # only here: nobody discovers plugins by importing sessile

    return tuple(metadata.entry_points(group=GROUP))


def load_local(path: str) -> object:
    """The module in a local Python file, as a plugin, loaded once; `NotInstalled` where there is no such file."""
    file = Path(path).absolute()
    spec = importlib.util.spec_from_file_location(f"sessile_local_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise NotInstalled(f"there is no plugin file {path!r}: pass the path of a .py file that has hooks")
    known = sys.modules.get(spec.name)
    if known is not None and known.__file__ == str(file):
        return known
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module
