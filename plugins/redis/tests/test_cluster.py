"""A cluster against the conformance kit: its single methods, and what is watched and used by several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessile.stores import open_store
from sessile.testing.sharing import SharingTests
from sessile.testing.values import ValuesTests
from sessile.testing.waist import WaistTests


class TestRedisCluster(SharingTests, ValuesTests, WaistTests):
    @pytest.fixture
    def store_url(self, cluster_url: str) -> str:
        return cluster_url


class TestRedisClusterAsync(TestRedisCluster):
    @pytest.fixture
    def open_store(self, store_url: str) -> Iterator[Callable[[], Any]]:
        opened = []

        def open_again() -> Any:
            opened.append(open_store(store_url))
            return opened[-1].asynchronous

        yield open_again
        for store in opened:
            store.close()
