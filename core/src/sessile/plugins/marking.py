"""Which functions of a plugin are hooks: the marked ones, and an object's methods by their names where it is passed.

pluggy finds them and checks their arguments; this module refuses what pluggy accepts silently.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import FunctionType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import attrs
import pluggy

from sessile.drive.locks import new_lock
from sessile.errors import InvalidInput, NotRegistered
from sessile.plugins import hookspecs


@attrs.frozen(eq=False)
class Implementation:
    """One plugin's function for a hook. wanted: the names of the hook's arguments that it is called with; all of them for one
    that takes `**arguments`."""

    plugin_name: str
    function: Any
    wanted: tuple[str, ...]
    wrapper: bool
    tryfirst: bool
    trylast: bool


class Specs:
    """The hooks that there are: the functions of these modules that are marked with `hookspec`, the core's and plugins' own.

    `InvalidInput` for a module that has none, or one that another has.
    """

    def __init__(self, modules: Sequence[ModuleType]) -> None:
        self.modules = modules
        specs: list[Any] = []
        for module in modules:
            found = [value for value in vars(module).values() if _is_spec(value)]
            there = {spec.__name__ for spec in specs} & {spec.__name__ for spec in found}
            if there or not found:
                what = (
                    f"hooks that there are already: {', '.join(sorted(there))}" if found else "no function marked with hookspec"
                )
                raise InvalidInput(f"module {module.__name__!r} has {what}")
            for spec in found:
                _check_arguments(module, spec)
            specs += found
        self.names = tuple(spec.__name__ for spec in specs)
        self.first_result = frozenset(spec.__name__ for spec in specs if spec.sessile_spec["firstresult"])
        self.arguments = {spec.__name__: frozenset(inspect.signature(spec).parameters) for spec in specs}
        self.finder: _Finder | None = None  # made at the first use, as it takes longer than all else
        self.lock = new_lock()
        # By whether unmarked methods count, and class: the hooks that its objects have. An object a request is the usual case.
        self.known: dict[bool, WeakKeyDictionary[type, tuple[tuple[Any, ...], dict[str, Implementation]]]] = {}

    def of_plugins(self) -> frozenset[str]:
        """The names that plugins have brought."""
        return frozenset(self.names) - frozenset(hookspecs.HOOKS)


def _check_arguments(module: ModuleType, spec: FunctionType) -> None:
    """Each argument has to reach the implementations, which are called with them by name."""
    where = f"hook {spec.__name__!r} of module {module.__name__!r}"
    for name, parameter in inspect.signature(spec).parameters.items():
        if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD or parameter.default is not parameter.empty:
            raise InvalidInput(f"{where} has the argument {str(parameter)!r}: write its name alone, without a star or a default")
        if name == "hook_name":
            raise InvalidInput(f"{where} has an argument 'hook_name', as session.hook has itself: choose another name")


def _is_spec(value: object) -> bool:
    return isinstance(value, FunctionType) and hasattr(value, "sessile_spec")


@functools.lru_cache(maxsize=64)
def specs_of(modules: tuple[ModuleType, ...]) -> Specs:
    """The hooks of the core, and of these modules: one for all sets of plugins that have the same."""
    return Specs((hookspecs, *modules))


class _Finder(pluggy.PluginManager):
    """pluggy's manager, which also takes an object whose methods are named like hooks, without marks."""

    by_name: object = None  # the object whose unmarked methods count

    def __init__(self, modules: Sequence[ModuleType], names: Sequence[str]) -> None:
        super().__init__("sessile")
        self._hook_names = names
        for module in modules:
            self.add_hookspecs(module)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        if name.startswith("__"):  # most of what an object has: none is a hook
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and plugin is self.by_name and name in self._hook_names:
            return {} if callable(getattr(plugin, name)) else None
        return options


def find_hooks(plugin: object, name: str, *, by_name: bool, specs: Specs, known_only: bool = False) -> dict[str, Implementation]:
    """A plugin's functions by the hooks that they are for. `InvalidInput` where one can be no hook, or there is none.

    by_name: methods without a mark count, unless the plugin is a module. known_only: leave out marked functions that are no
    hook, which are `NotRegistered` else.
    """
    if inspect.isclass(plugin):
        raise InvalidInput(f"{plugin.__name__} is a class: pass an object of it, {plugin.__name__}()")
    if isinstance(plugin, ModuleType) or _has_hooks_of_its_own(plugin, specs):
        return _found(plugin, name, by_name, specs, known_only)
    known = specs.known.setdefault(by_name, WeakKeyDictionary())
    methods = tuple(getattr(type(plugin), hook, None) for hook in specs.names)
    before, hooks = known.get(type(plugin), ((), {}))
    if before != methods:
        hooks = _found(plugin, name, by_name, specs, known_only)
        if not known_only and all(type(getattr(type(plugin), hook, None)) is FunctionType for hook in hooks):
            known[type(plugin)] = methods, {hook: attrs.evolve(impl, function=None) for hook, impl in hooks.items()}
        return hooks
    return {hook: attrs.evolve(impl, plugin_name=name, function=getattr(plugin, hook)) for hook, impl in hooks.items()}


def _has_hooks_of_its_own(plugin: object, specs: Specs) -> bool:
    """Has an object hooks that its class has not? (What else it holds is not touched: it may be lazy.)"""
    own = getattr(plugin, "__dict__", {})
    marked = any(type(value) in (FunctionType, MethodType) and hasattr(value, "sessile_impl") for value in own.values())
    return marked or not own.keys().isdisjoint(specs.names)


def _found(plugin: object, name: str, by_name: bool, specs: Specs, known_only: bool) -> dict[str, Implementation]:
    with specs.lock:
        finder = specs.finder = specs.finder or _Finder(specs.modules, specs.names)
        finder.by_name = plugin if by_name and not isinstance(plugin, ModuleType) else None
        try:
            finder.register(plugin, name)
            callers = finder.get_hookcallers(plugin) or []
            taken = [caller for caller in callers if caller.has_spec() or not known_only]
            found = {caller.name: _implementation(caller, impl, specs) for caller in taken for impl in caller.get_hookimpls()}
        finally:
            finder.by_name = None
            if finder.is_registered(plugin):
                finder.unregister(plugin)
    if not callers:
        raise InvalidInput(f"it has no hook{_hint(plugin, specs)}: see docs/hooks.md")
    return found


def _implementation(caller: Any, impl: Any, specs: Specs) -> Implementation:
    parameters = inspect.signature(impl.function).parameters
    _check(caller, impl, parameters, specs)
    everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    arguments = caller.spec.argnames if caller.has_spec() else ()
    wanted = tuple(name for name in arguments if everything or name in parameters)
    return Implementation(impl.plugin_name, impl.function, wanted, impl.wrapper, impl.tryfirst, impl.trylast)


def merged(below: list[Implementation], above: list[Implementation]) -> list[Implementation]:
    """The implementations of two sets in pluggy's order, as if those `above` had been registered after those `below`."""
    last = [impl for impl in above if impl.trylast]
    others = [impl for impl in above if not impl.trylast]
    return sorted([*last, *below, *others], key=lambda impl: (impl.wrapper, impl.tryfirst - impl.trylast))


def _check(caller: Any, impl: Any, parameters: Mapping[str, inspect.Parameter], specs: Specs) -> None:
    if not caller.has_spec():
        if impl.optionalhook:
            return
        near = get_close_matches(caller.name, specs.names, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(specs.names)}"
        raise NotRegistered(f"{caller.name!r} is marked as a hook, but no hook has this name: {hint}")
    if impl.hookwrapper:
        raise InvalidInput(f"{caller.name!r} is marked with hookwrapper=True: use wrapper=True, and return what it changes")
    needed = {
        name
        for name, parameter in parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
    }
    if unknown := needed - {*caller.spec.argnames}:
        raise InvalidInput(f"{caller.name!r} takes {sorted(unknown)}, but the hook has {list(caller.spec.argnames)}")


def _hint(plugin: object, specs: Specs) -> str:
    """A hint for a plugin without hooks: an unmarked function with a hook's name, or a similar name."""
    names = [name for name in dir(plugin) if not name.startswith("_")]
    for name in names:
        if name in specs.names:
            return f", but a function {name!r} without a mark: put @sessile.hookimpl above it"
    for name in names:
        if near := get_close_matches(name, specs.names, 1, 0.8):
            return f", but {name!r}: did you mean {near[0]!r}?"
    return ""
