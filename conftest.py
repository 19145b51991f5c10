"""Options and fixtures of all tests."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MONGODB_URL = os.environ.get("SESSILE_TEST_MONGODB_URL")
COSTLIEST_FIRST = ("mongodb", "postgres", "redis")

sys.path.insert(0, str(Path(__file__).parent))  # for `tests.servers` and the like, from every package's tests


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="run the heavy repetitions in full")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite runs on all cores (at most 4); what is named on the command line, benchmarks too, in this process.

    `-n` says otherwise. This is no option in pyproject.toml, so that `-p no:xdist` and `--pdb` stay possible.
    """
    option = config.option
    if not hasattr(option, "numprocesses") or hasattr(config, "workerinput"):  # no xdist, or one of its workers
        return
    named = config.args_source is pytest.Config.ArgsSource.ARGS
    if option.numprocesses is None and not (named or option.usepdb or option.collectonly):
        option.numprocesses = min(4, os.cpu_count() or 1)
    if option.numprocesses and option.dist == "no":
        option.dist = "loadgroup"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group(name): tests of one name run in one worker, one after the other")


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The tests of a server run in one worker, so that it is started once; those of several, where the costliest is."""
    for item in items:
        server = next((name for name in COSTLIEST_FIRST if _uses(item, name)), None)
        if server and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(server))


def _uses(item: pytest.Item, server: str) -> bool:
    parameters = getattr(item, "callspec", None)
    named = f"{server}_server" in getattr(item, "fixturenames", ())
    return named or (parameters is not None and server in parameters.params.values())


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
    gc.collect()  # stores that a test has left open are closed while their server is there
    server.stop()


@pytest.fixture(params=["redis", "postgres", "mongodb"])
def server_url(request: pytest.FixtureRequest) -> str:
    """An empty database on each of the servers."""
    return str(request.getfixturevalue(f"{request.param}_server").url())
