"""The conformance tests, all of them. Subclass `StoreConformance`, give it a `store_url` fixture, and run pytest."""

from sessile.testing.deleting import DeletingTests
from sessile.testing.fixtures import Driven as Driven
from sessile.testing.races import RacesTests
from sessile.testing.sharing import SharingTests
from sessile.testing.together import TogetherTests
from sessile.testing.waist import WaistTests


class StoreConformance(SharingTests, RacesTests, DeletingTests, TogetherTests, WaistTests):  # pytest runs the last one first
    """All that a store promises. Override `store_url`; for a store that lives in one process, see `many_processes`."""
