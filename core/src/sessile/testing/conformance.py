"""The conformance tests, all of them. Subclass `StoreConformance`, give it a `store_url` fixture, and run pytest."""

from sessile.testing.fixtures import Driven as Driven
from sessile.testing.waist.contract import WaistTests
from sessile.testing.waist.deleting import DeletingTests
from sessile.testing.waist.expiring import ExpiringTests
from sessile.testing.waist.races import RacesTests
from sessile.testing.waist.searching import SearchTests
from sessile.testing.waist.sharing import SharingTests
from sessile.testing.waist.together import TogetherTests
from sessile.testing.waist.values import ValuesTests


class StoreConformance(
    ExpiringTests, SharingTests, RacesTests, DeletingTests, TogetherTests, SearchTests, ValuesTests, WaistTests
):  # pytest runs the last one first
    """All that a store promises. Override `store_url`; for a store that lives in one process, see `many_processes`; for one
    that has a `ttl`, `expiring_store_url`; for one that is slow or far away, `seconds`.

    What no test can bring about is left to the store's own: a header that cannot be read (`load` raises `CorruptStore`, and
    only then `delete(expected=None)` removes it), an answer that is lost, a server that restarts.
    """
