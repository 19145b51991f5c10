"""A cluster against the conformance kit: its single methods, and what is watched and used by several."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from sessile.store.opening import open_store
from sessile.testing.waist.contract import WaistTests
from sessile.testing.waist.sharing import SharingTests
from sessile.testing.waist.values import ValuesTests


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
