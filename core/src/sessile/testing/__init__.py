"""The conformance kit: what a storage backend must do, as tests that its author turns on with one fixture.

    from sessile.testing import StoreConformance

    class TestMyStore(StoreConformance):
        @pytest.fixture
        def store_url(self, tmp_path):
            return f"mystore:///{tmp_path}/data"

Needs `pip install sessile-core[testing]`. The report at the end of the run lists each capability.
"""

from sessile.testing.conformance import StoreConformance

__all__ = ["StoreConformance"]
