"""A Redis cluster of one node, besides the server that all tests share."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

_numbers = itertools.count()


@pytest.fixture(scope="session")
def cluster_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from tests.servers import RedisServer, wait_until

    server = RedisServer(tmp_path_factory.mktemp("cluster"), "--cluster-enabled", "yes", "--databases", "1")
    with redis.Redis(port=server.port) as client:
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
        wait_until(lambda: client.set("ready", 1), "the cluster")
    yield server
    server.stop()


@pytest.fixture
def cluster_url(cluster_server: Any) -> str:
    """An empty place in the cluster: a prefix of its own, as there is but one database."""
    return f"redis+cluster://127.0.0.1:{cluster_server.port}?prefix=p{next(_numbers)}"


@pytest.fixture(params=["server", "cluster"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty place on one server, and on a cluster."""
    if request.param == "cluster":
        return str(request.getfixturevalue("cluster_url"))
    return str(request.getfixturevalue("redis_server").url())


@pytest.fixture
def client(url: str) -> Iterator[Any]:
    """A client of one's own on the same keys."""
    with redis.Redis.from_url(url.replace("+cluster", "").partition("?")[0]) as client:
        yield client


@pytest.fixture
def index_keys(url: str, client: Any) -> Callable[[str], list[bytes]]:
    """A function that returns the keys of the indexes whose name has something in it."""
    prefix = url.partition("?prefix=")[2] or "sessile"
    return lambda part="": [key for key in client.keys(f"{prefix}:index:*") if part in key.decode()]
