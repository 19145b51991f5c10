"""The conformance kits: what a storage backend, or a plugin, must do, as tests that its author turns on with one fixture.

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
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessile.testing.conformance import StoreConformance as StoreConformance
    from sessile.testing.plugin_conformance import PluginConformance as PluginConformance

__all__ = ["PluginConformance", "StoreConformance"]
_HOMES = {"PluginConformance": "plugin_conformance", "StoreConformance": "conformance"}


def __getattr__(name: str) -> Any:  # on first use: pytest imports this package in every run, with or without hypothesis
    if name in _HOMES:
        return getattr(import_module(f"sessile.testing.{_HOMES[name]}"), name)
    raise AttributeError(name)
