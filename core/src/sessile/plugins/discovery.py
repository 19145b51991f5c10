"""The plugins of this process: discovered once, blocked or added by options; and those of one session."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

from sessile.errors import InvalidInput
from sessile.plugins.active import Plugins
from sessile.plugins.registry import is_given


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
    blocked, files = parse_options(os.environ.get("SESSILE_PLUGINS", "").split(","))
    found = Plugins(blocked=[*_steering[0], *blocked], extra=[*_steering[1], *files])
    names = [info.name for info in found.infos()]
    for name in (*_steering[0], *blocked):
        if name not in names:
            raise InvalidInput(f"there is no plugin {name!r} to block: choose one of {', '.join(names)}")
    return found


def with_services(plugins: Plugins, **options: Any) -> Plugins:
    """The plugins of a set, and the hooks of those services that these options, each of a service's name, ask for."""
    asked = [name for name, option in options.items() if is_given(option) and plugins.registry.has("service", name)]
    modules = [plugins.registry.find("service", name).hooks for name in asked]
    return with_extra([import_module(module) for module in modules if module], plugins)


def with_extra(extra: Sequence[object] | Plugins, base: Plugins | None = None, *, option: str = "plugins") -> Plugins:
    """The plugins of a set (default: the installed ones), and some more for one session; a whole set stands for itself.

    option: what an error calls them.
    """
    if isinstance(extra, Plugins):
        return extra
    base = base or installed()
    try:
        return Plugins(extra=extra, base=base) if extra else base
    except InvalidInput as error:
        raise InvalidInput(f"{option}: {error}") from error
