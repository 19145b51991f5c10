"""A set of plugins that are active: how they are loaded and ordered, and how their hooks are called."""

from __future__ import annotations

import functools
import importlib.util
import logging
import sys
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from sessile.drive.faces import Face, is_async, suited
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput, NotInstalled, NotRegistered, PluginError
from sessile.plugins import builtin, hookspecs
from sessile.plugins.hook_results import CHECKS
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


class Plugins:
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
        for plugin in extra:
            info = self.add(plugin)
            if info.status == "broken":  # somebody asked for just this one
                raise InvalidInput(f"plugin {info.name!r} cannot be used: {info.error}")

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

    def _broken(self, info: PluginInfo, where: str, error: Exception) -> PluginInfo:
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
        if isinstance(plugin, str):
            info = PluginInfo(name or Path(plugin).stem, "active")
            try:
                plugin = load_local(plugin)
            except NotInstalled:
                raise
            except Exception as error:
                return self._broken(info, "import", error)
        else:
            info = PluginInfo(name or getattr(plugin, "__name__", None) or f"{type(plugin).__name__}-{id(plugin):x}", "active")
        known = self._name_of(plugin)
        return self._infos[known] if known is not None else self._add(plugin, info, by_name=True)

    def _name_of(self, plugin: object) -> str | None:
        """The name under which a plugin is active in this set; None where it is not."""
        found = next((name for known, name in self._names if known is plugin), None)
        return found if found is not None or self._base is None else self._base._name_of(plugin)

    def _add(self, plugin: object, info: PluginInfo, *, by_name: bool, patient: bool = False) -> PluginInfo:
        self._order.clear()
        before = copy(self.registry)
        before.entries = list(before.entries)
        try:
            if info.name in self._infos:
                raise InvalidInput("another plugin has this name: rename one of them, or block that one")
            if info.name in self._blocked:
                return self._known(attrs.evolve(info, status="blocked"))
            found = self._hooks_of(plugin, info.name, by_name)
        except Exception as error:  # a broken plugin must not take the others down with it
            vars(self.registry).update(vars(before))
            if patient and isinstance(error, NotRegistered):
                raise
            return self._broken(info, "register", error)
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

    async def call(self, face: Face, hook: str, arguments: Mapping[str, Any], *, strict: bool = False) -> list[Any]:
        """Call a hook's implementations in order and return their results that are not None.

        Each is called with the arguments it names, and its failure is reported (`strict`: raised as `PluginError`): an
        exception, or a result that the hook cannot have. With a firstresult hook the first result ends the call.
        """
        first = hook in self.specs.first_result

        async def inside() -> list[Any]:
            results: list[Any] = []
            for impl in self.implementations(hook):
                result = None if impl.wrapper else await self._result(face, hook, impl, arguments, strict)
                if result is not None:
                    results.append(result)
                    if first:
                        break
            return results

        return await self._wrapped(face, hook, arguments, strict, inside) if self.implementations(hook) else []

    async def fold(
        self, face: Face, hook: str, name: str, value: Any, arguments: Mapping[str, Any], *, strict: bool = False
    ) -> Any:
        """Hand `value` through a hook's implementations as argument `name`: each gets a copy of what the one before returned."""

        async def inside() -> Any:
            folded = value
            for impl in self.implementations(hook):
                if not impl.wrapper:
                    result = await self._result(face, hook, impl, {**arguments, name: copy(folded)}, strict)
                    folded = folded if result is None else result
            return folded

        return await self._wrapped(face, hook, {**arguments, name: copy(value)}, strict, inside)

    async def _result(self, face: Face, hook: str, impl: Implementation, arguments: Mapping[str, Any], strict: bool) -> Any:
        """What an implementation returned, checked; None where it failed."""
        try:
            return _checked(hook, await _invoke(face, impl, arguments))
        except Exception as error:
            self.report(impl, hook, error, strict)

    async def _wrapped(
        self, face: Face, hook: str, arguments: Mapping[str, Any], strict: bool, inside: Callable[[], Awaitable[Any]]
    ) -> Any:
        """The result of `inside` once the hook's wrappers, entered first and left last, had a look at it or changed it."""
        entered: list[tuple[Implementation, Generator[None, Any, Any]]] = []
        try:
            for impl in self.implementations(hook):
                if impl.wrapper:
                    try:
                        generator = await _invoke(face, impl, arguments)
                        await face.call(_enter, generator)
                        entered.append((impl, generator))
                    except Exception as error:
                        self.report(impl, hook, error, strict)
            result = await inside()
            while entered:
                impl, generator = entered.pop()
                try:
                    changed = await face.call(_leave, generator, copy(result))
                    result = result if changed is None else _changed(hook, result, changed)
                except Exception as error:
                    self.report(impl, hook, error, strict)
            return result
        finally:
            for _, generator in entered:
                generator.close()

    def report(self, impl: Implementation, hook: str, error: Exception, strict: bool) -> None:
        """Log a hook's failure with the plugin's name; raise it under `strict`."""
        failure = PluginError(impl.plugin_name, hook, error)
        if strict:
            raise failure from error
        logger.error("%s", failure, exc_info=error)


async def _invoke(face: Face, impl: Implementation, arguments: Mapping[str, Any]) -> Any:
    return await face.call(impl.function, **{n: _given(impl, n, arguments[n]) for n in impl.wanted if n in arguments})


def _given(impl: Implementation, name: str, value: Any) -> Any:
    """An argument as an implementation can use it: sessions and turns in the face of its function."""
    return suited(impl.function, value) if name in ("session", "turn") else value


def _checked(hook: str, result: Any) -> Any:
    check = None if result is None else CHECKS.get(hook)
    return check(result) if check else result


def _changed(hook: str, before: Any, after: Any) -> Any:
    """What a wrapper made of a hook's result, in the form that the hook has: a list of results, or what was folded."""
    if hook in hookspecs.FOLDED:
        return _checked(hook, after)
    if not isinstance(after, list):
        raise InvalidInput(f"a wrapper of {hook} returns the list of results that it got, or another: not {shorten(after)}")
    return [_checked(hook, result) for result in after]


def _enter(generator: Generator[None, Any, Any]) -> None:
    try:
        next(generator)
    except StopIteration:
        raise InvalidInput("a wrapper yields once: this one did not") from None


def _leave(generator: Generator[None, Any, Any], result: Any) -> Any:
    try:
        generator.send(result)
    except StopIteration as stop:
        return stop.value
    generator.close()
    raise InvalidInput("a wrapper yields once: this one did so again")


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
