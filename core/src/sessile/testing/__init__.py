"""For tests: a model that says what it is told to, and the conformance kits: what a storage backend, or a plugin, must do.

Who tests what is built on sessile has `ScriptedModel`, and two fixtures of the pytest plugin: `sessile_store`, the URL of an
empty store, which is also the default one meanwhile, and `sessile_session`, a session in it. Who writes a backend, or a plugin,
turns the tests of a kit on with one fixture:

    from sessile.testing import StoreConformance

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store_url(self, tmp_path):
            return f"mystore:///{tmp_path}/data"

    from sessile.testing import PluginConformance

    class TestMyPlugin(PluginConformance):
        @pytest.fixture
        def plugin(self):
            return "mine"

Needs `pip install sessile-core[testing]`. The report at the end of the run lists each capability.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sessile.testing.conformance import StoreConformance as StoreConformance
    from sessile.testing.plugin_conformance import PluginConformance as PluginConformance
    from sessile.testing.scripted import ScriptedModel as ScriptedModel

__all__ = ["PluginConformance", "ScriptedModel", "StoreConformance"]
_HOMES = {"PluginConformance": "plugin_conformance", "ScriptedModel": "scripted", "StoreConformance": "conformance"}

if not TYPE_CHECKING:  # so that a checker finds a misspelt name

    def __getattr__(name: str) -> object:  # on first use: pytest imports this package in every run
        if name in _HOMES:
            return getattr(import_module(f"sessile.testing.{_HOMES[name]}"), name)
        raise AttributeError(f"module 'sessile.testing' has no attribute {name!r}")
