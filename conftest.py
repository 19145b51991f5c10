"""Options and fixtures of all tests."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

MONGODB_URL = os.environ.get("SESSILE_TEST_MONGODB_URL")
# What gathers tests in one worker, by words in their ids: the costliest to start comes first.
GROUPS = {
    "mongodb": ("mongo", "seeds_servers", "servers_input"),
    "postgres": ("postgres",),
    "redis": ("redis", "runs[readme.md]"),
    "model": ("plugins/openai", "plugins/smollm"),
}

pytest_plugins = ["pytester"]
with contextlib.suppress(ImportError):  # a plugin's tests may do without
    import hypothesis

    hypothesis.settings.register_profile("sessile", deadline=None)  # a busy machine takes its time
    hypothesis.settings.load_profile("sessile")

if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):  # the programs that tests start would all compile everything anew
    os.environ["PYTHONPYCACHEPREFIX"] = str(Path(__file__).parent / ".pytest_cache" / "bytecode")

sys.path.insert(0, str(Path(__file__).parent))  # for `tests.servers` and the like, from every package's tests


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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """The tests of a server, or of the embedded model, run in one worker; all others wherever there is time."""
    from xdist.scheduler import LoadScopeScheduling

    class ByServer(LoadScopeScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            return next((group for group, words in GROUPS.items() if any(word in nodeid.lower() for word in words)), nodeid)

    return ByServer(config, log)


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


@pytest.fixture(scope="module")
def without_memory() -> Iterator[None]:
    """No plugin remembers anything, as where sessile-memory is not installed."""
    from sessile.plugins import installed, steer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SESSILE_PLUGINS", "no:memory")
        steer((), ())
        installed()  # found now: each test has an environment of its own
        yield
    steer((), ())
