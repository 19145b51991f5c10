"""The conformance kit: what a storage backend must do, as tests that its author turns on with one fixture.

    from sessile.testing import StoreConformance

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store_url(self, tmp_path):
            return f"mystore:///{tmp_path}/data"

Needs `pip install sessile-core[testing]`. The report at the end of the run lists each capability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessile.testing.conformance import StoreConformance as StoreConformance

__all__ = ["StoreConformance"]


def __getattr__(name: str) -> Any:  # on first use: pytest imports this package in every run, with or without hypothesis
    if name in __all__:
        from sessile.testing import conformance

        return getattr(conformance, name)
    raise AttributeError(name)
