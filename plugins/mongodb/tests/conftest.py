"""An empty database, and a look into it past the store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient


@pytest.fixture
def url(mongodb_server: Any) -> str:
    return str(mongodb_server.url())


@pytest.fixture
def database(url: str) -> Iterator[Any]:
    client: Any = MongoClient(url)
    with client:
        yield client.get_default_database()
