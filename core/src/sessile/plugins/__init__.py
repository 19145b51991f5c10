"""Plugins: hook specs, the registry, discovery, and how hooks are called."""

from sessile.conversation.prompt.context import Room
from sessile.drive.faces import Blocking, run
from sessile.drive.locks import new_lock
from sessile.plugins.active import PluginInfo, Plugins, load_local
from sessile.plugins.discovery import installed, parse_options, steer, with_extra
from sessile.plugins.finding_models import find_model
from sessile.plugins.hookspecs import hookimpl, hookspec
from sessile.plugins.middleware import AwaitNext, CallNext
from sessile.plugins.registry import KINDS, Registration, Registry, lazily

__all__ = [
    "KINDS",
    "AwaitNext",
    "Blocking",
    "CallNext",
    "PluginInfo",
    "Plugins",
    "Registration",
    "Registry",
    "Room",
    "find_model",
    "hookimpl",
    "hookspec",
    "installed",
    "lazily",
    "load_local",
    "new_lock",
    "parse_options",
    "run",
    "steer",
    "with_extra",
]
