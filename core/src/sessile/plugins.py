"""Plugins: discovery, blocking and ordering, and how their hooks are called."""

from __future__ import annotations

import functools
import importlib.util
import logging
import os
import sys
from collections.abc import Generator, Iterable, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import attrs
import pluggy

from sessile import hookspecs
from sessile.drive import Face, suited
from sessile.errors import InvalidInput, NotInstalled, PluginError
from sessile.registry import Registry

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


class _Manager(pluggy.PluginManager):
    """pluggy's manager, which also takes unmarked objects whose methods are named like hooks."""

    unmarked: tuple[object, ...] = ()

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and name in hookspecs.HOOKS and any(plugin is other for other in self.unmarked):
            return {} if callable(getattr(plugin, name)) else None
        return options


class Plugins:
    """A set of active plugins and their registry.

    blocked: names of plugins that are not to be active. extra: modules, classes' instances or objects with hooks.
    """

    def __init__(self, *, blocked: Iterable[str] = (), extra: Iterable[object] = (), discover: bool = True) -> None:
        self.registry = Registry()
        self._manager = _Manager("sessile")
        self._manager.add_hookspecs(hookspecs)
        self._blocked = frozenset(blocked)
        self._infos: dict[str, PluginInfo] = {}
        self._order: dict[str, list[pluggy.HookImpl]] = {}
        for name in self._blocked:
            self._manager.set_blocked(name)
        self.add(_builtin(), "builtin")
        if discover:
            for entry_point in _entry_points():
                self._load(entry_point)
        for plugin in extra:
            info = self.add(plugin)
            if info.status == "broken":  # somebody asked for just this one
                raise InvalidInput(f"plugin {info.name!r} cannot be used: {info.error}")

    def _load(self, entry_point: metadata.EntryPoint) -> None:
        dist = entry_point.dist
        info = PluginInfo(entry_point.name, "active", dist.name if dist else "", dist.version if dist else "")
        if entry_point.name in self._blocked:
            self._known(attrs.evolve(info, status="blocked"))
            return
        try:
            plugin = entry_point.load()
        except Exception as error:  # a broken plugin must not take the others down with it
            self._broken(info, "import", error)
            return
        self.add(plugin, entry_point.name, info)

    def _broken(self, info: PluginInfo, where: str, error: Exception) -> PluginInfo:
        logger.error("plugin %r is disabled: %s failed: %s: %s", info.name, where, type(error).__name__, error)
        return self._known(attrs.evolve(info, status="broken", error=f"{type(error).__name__}: {error}"))

    def _known(self, info: PluginInfo) -> PluginInfo:
        self._infos[info.name] = info
        return info

    def add(self, plugin: object, name: str | None = None, info: PluginInfo | None = None) -> PluginInfo:
        """Make a plugin active: a module, or any object with hooks; unmarked methods count by their name."""
        if isinstance(plugin, str):
            name = name or Path(plugin).stem
            plugin = load_local(plugin)
        name = name or getattr(plugin, "__name__", None) or f"{type(plugin).__name__}-{id(plugin):x}"
        info = info or PluginInfo(name, "active")
        self._order.clear()
        if not _marked(plugin):
            self._manager.unmarked = (*self._manager.unmarked, plugin)
        try:
            if self._manager.register(plugin, name) is None:
                return self._known(attrs.evolve(info, status="blocked"))
            self._register(plugin, name)
        except Exception as error:  # a broken plugin must not take the others down with it
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            return self._broken(info, "register", error)
        hooks = sorted(caller.name for caller in self._manager.get_hookcallers(plugin) or ())
        registers = sorted(f"{e.kind}:{e.name}" for e in self.registry.entries if e.plugin == name)
        return self._known(attrs.evolve(info, hooks=tuple(hooks), registers=tuple(registers)))

    def _register(self, plugin: object, name: str) -> None:
        self.registry.plugin = name
        for impl in self._manager.hook.register.get_hookimpls():
            if impl.plugin is plugin:
                impl.function(*([self.registry] if "registry" in impl.argnames else []))

    def infos(self) -> list[PluginInfo]:
        """All plugins that were found, by name."""
        return sorted(self._infos.values(), key=lambda info: info.name)

    def implementations(self, hook: str) -> list[pluggy.HookImpl]:
        """The implementations of a hook, in the order they are called."""
        if hook not in self._order:
            self._order[hook] = getattr(self._manager.hook, hook).get_hookimpls()[::-1]
        return self._order[hook]

    async def call(self, face: Face, hook: str, arguments: Mapping[str, Any], *, strict: bool = False) -> list[Any]:
        """Call a hook's implementations in order and return their results that are not None.

        Each is called with the arguments it names, and its failure is reported (`strict`: raised as `PluginError`).
        With a firstresult hook the first result ends the call. Wrappers are entered first and left last.
        """
        impls = self.implementations(hook)
        if not impls:
            return []
        first = getattr(self._manager.hook, hook).spec.opts["firstresult"]
        wrappers: list[tuple[pluggy.HookImpl, Generator[None, Any, Any]]] = []
        results: list[Any] = []
        for impl in impls:
            try:
                result = await _invoke(face, impl, arguments)
                if impl.wrapper:
                    next(result)
                    wrappers.append((impl, result))
                elif result is not None:
                    results.append(result)
                    if first:
                        break
            except Exception as error:
                self.report(impl, hook, error, strict)
        for impl, generator in reversed(wrappers):
            try:
                generator.send(results)
            except StopIteration as stop:
                results = stop.value if isinstance(stop.value, list) else results
            except Exception as error:
                self.report(impl, hook, error, strict)
        return results

    async def fold(
        self, face: Face, hook: str, name: str, value: Any, arguments: Mapping[str, Any], *, strict: bool = False
    ) -> Any:
        """Hand `value` through a hook's implementations as argument `name`: each gets what the one before returned."""
        for impl in self.implementations(hook):
            try:
                result = await _invoke(face, impl, {**arguments, name: value})
            except Exception as error:
                self.report(impl, hook, error, strict)
            else:
                value = value if result is None else result
        return value

    def report(self, impl: pluggy.HookImpl, hook: str, error: Exception, strict: bool) -> None:
        """Log a hook's failure with the plugin's name; raise it under `strict`."""
        failure = PluginError(impl.plugin_name, hook, error)
        if strict:
            raise failure from error
        logger.error("%s", failure, exc_info=error)


async def _invoke(face: Face, impl: pluggy.HookImpl, arguments: Mapping[str, Any]) -> Any:
    wanted = (*impl.argnames, *impl.kwargnames)
    return await face.call(impl.function, **{name: _given(impl, name, arguments[name]) for name in wanted if name in arguments})


def _given(impl: pluggy.HookImpl, name: str, value: Any) -> Any:
    """An argument as an implementation can use it: sessions and turns in the face of its function."""
    return suited(impl.function, value) if name in ("session", "turn") else value


@functools.cache
def _entry_points() -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=GROUP))


def _marked(plugin: object) -> bool:
    return any(hasattr(getattr(plugin, name, None), "sessile_impl") for name in hookspecs.HOOKS)


def _builtin() -> object:
    from sessile import builtin

    return builtin


def load_local(path: str) -> object:
    """The module in a local Python file, as a plugin; `NotInstalled` where there is no such file."""
    file = Path(path)
    spec = importlib.util.spec_from_file_location(f"sessile_local_{file.stem}", file)
    if not file.is_file() or spec is None or spec.loader is None:
        raise NotInstalled(f"there is no plugin file {path!r}: pass the path of a .py file that has hooks")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def parse_options(options: Sequence[str]) -> tuple[list[str], list[str]]:
    """(names to block, files to load) from the values of `-p` or the parts of $SESSILE_PLUGINS."""
    options = [option.strip() for option in options if option.strip()]
    return [o[3:] for o in options if o.startswith("no:")], [o for o in options if not o.startswith("no:")]


_steering: tuple[list[str], list[str]] = ([], [])


def steer(blocked: Iterable[str], files: Iterable[str]) -> None:
    """Block plugins and load local files in this process, beside what $SESSILE_PLUGINS says. Call it before `installed`."""
    _steering[0].extend(blocked)
    _steering[1].extend(files)
    installed.cache_clear()


@functools.cache
def installed() -> Plugins:
    """The plugins of this process, discovered once; $SESSILE_PLUGINS ("no:NAME", or a file; comma-separated) steers."""
    return _with(())


def with_extra(extra: Sequence[object]) -> Plugins:
    """The installed plugins, and some more for one session."""
    return _with(extra) if extra else installed()


def _with(extra: Sequence[object]) -> Plugins:
    blocked, files = parse_options(os.environ.get("SESSILE_PLUGINS", "").split(","))
    return Plugins(blocked=[*_steering[0], *blocked], extra=[*_steering[1], *files, *extra])
