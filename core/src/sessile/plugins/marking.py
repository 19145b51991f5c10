"""Which functions of a plugin are hooks: the marked ones, and an object's methods by their names where it is passed.

pluggy looks for them and checks their arguments; here is told what it takes in silence.
"""

from __future__ import annotations

import inspect
from difflib import get_close_matches
from types import ModuleType
from typing import Any

import attrs
import pluggy

from sessile.errors import InvalidInput
from sessile.plugins import hookspecs


@attrs.frozen(eq=False)
class Implementation:
    """One plugin's function for a hook. wanted: the names of the hook's arguments that it is called with."""

    plugin_name: str
    function: Any
    wanted: tuple[str, ...]
    wrapper: bool
    tryfirst: bool
    trylast: bool


class HookFinder(pluggy.PluginManager):
    """pluggy's manager, which also takes an object whose methods are named like hooks, without marks."""

    by_name: object = None  # the object whose unmarked methods count

    def __init__(self) -> None:
        super().__init__("sessile")
        self.add_hookspecs(hookspecs)

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and plugin is self.by_name and name in hookspecs.HOOKS:
            return {} if callable(getattr(plugin, name)) else None
        return options

    def take(self, plugin: object, name: str, *, by_name: bool) -> bool:
        """Register a plugin; False where its name is blocked. `InvalidInput` where one of its functions can be no hook.

        by_name: methods without a mark count, unless the plugin is a module.
        """
        if inspect.isclass(plugin):
            raise InvalidInput(f"{plugin.__name__} is a class: pass an object of it, {plugin.__name__}()")
        self.by_name = plugin if by_name and not isinstance(plugin, ModuleType) else None
        if self.register(plugin, name) is None:
            return False
        callers = self.get_hookcallers(plugin) or []
        for caller in callers:
            for impl in caller.get_hookimpls():
                if impl.plugin is plugin:
                    _check(caller, impl)
        if not callers:
            raise InvalidInput(f"it has no hook{_hint(plugin)}: see docs/hooks.md")
        return True

    def found(self, hook: str) -> list[Implementation]:
        """The implementations of a hook, in pluggy's order: the one that is called first stands last."""
        caller = getattr(self.hook, hook)
        return [
            Implementation(impl.plugin_name, impl.function, _wanted(caller, impl), impl.wrapper, impl.tryfirst, impl.trylast)
            for impl in caller.get_hookimpls()
        ]


def merged(below: list[Implementation], above: list[Implementation]) -> list[Implementation]:
    """The implementations of two sets in pluggy's order, as if those `above` had been registered after those `below`."""
    last = [impl for impl in above if impl.trylast]
    others = [impl for impl in above if not impl.trylast]
    return sorted([*last, *below, *others], key=lambda impl: (impl.wrapper, impl.tryfirst - impl.trylast))


def _check(caller: Any, impl: Any) -> None:
    if not caller.has_spec():
        if impl.optionalhook:
            return
        near = get_close_matches(caller.name, hookspecs.HOOKS, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(hookspecs.HOOKS)}"
        raise InvalidInput(f"{caller.name!r} is marked as a hook, but no hook has this name: {hint}")
    if impl.hookwrapper:
        raise InvalidInput(f"{caller.name!r} is marked with hookwrapper=True: use wrapper=True, and return what it changes")
    needed = {
        name
        for name, parameter in inspect.signature(impl.function).parameters.items()
        if parameter.default is parameter.empty and parameter.kind is parameter.KEYWORD_ONLY
    }
    if unknown := needed - {*caller.spec.argnames}:
        raise InvalidInput(f"{caller.name!r} takes {sorted(unknown)}, but the hook has {list(caller.spec.argnames)}")


def _wanted(caller: Any, impl: Any) -> tuple[str, ...]:
    """The arguments of the hook that a function names; all of them for `**arguments`."""
    parameters = inspect.signature(impl.function).parameters
    everything = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return tuple(name for name in caller.spec.argnames if everything or name in parameters)


def _hint(plugin: object) -> str:
    """What may have been meant where a plugin has no hook: a function without a mark, or one with a name that is near."""
    names = [name for name in dir(plugin) if not name.startswith("_")]
    for name in names:
        if name in hookspecs.HOOKS:
            return f", but a function {name!r} without a mark: put @sessile.hookimpl above it"
    for name in names:
        if near := get_close_matches(name, hookspecs.HOOKS, 1, 0.8):
            return f", but {name!r}: did you mean {near[0]!r}?"
    return ""
