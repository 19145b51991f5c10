"""Options and fixtures of all tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MONGODB_URL = os.environ.get("SESSILE_TEST_MONGODB_URL")

sys.path.insert(0, str(Path(__file__).parent))  # for `tests.servers` and the like, from every package's tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the heavy repetitions in full")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks run when they are asked for: `uv run pytest tests/benchmarks`."""
    asked = any("benchmarks" in argument for argument in config.args)
    return True if collection_path.name == "benchmarks" and not asked else None


@pytest.fixture(autouse=True)
def _own_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the machine's owner is read or written: each test has an empty home."""
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    for name in [name for name in os.environ if name.startswith(("SESSILE_", "OPENAI_"))]:
        if name != "SESSILE_FULL":
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A Redis; each call of `url()` names an empty database."""
    from tests.servers import RedisServer

    server = RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL; each call of `url()` makes an empty database."""
    from tests.servers import PostgresServer

    server = PostgresServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mongodb_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """What $SESSILE_TEST_MONGODB_URL names, else a server that speaks its protocol; `url()` names an empty database."""
    from tests.servers import GivenMongoServer, MongoServer

    server = GivenMongoServer(MONGODB_URL) if MONGODB_URL else MongoServer(tmp_path_factory.mktemp("mongodb"))
    yield server
    server.stop()


@pytest.fixture(params=["redis", "postgres", "mongodb"])
def server_url(request: pytest.FixtureRequest) -> str:
    """An empty database on each of the servers."""
    return str(request.getfixturevalue(f"{request.param}_server").url())
