"""Every backend of this repository against the conformance kit."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sessile import MemorySessionStore
from sessile.log.header import Header
from sessile.log.ids import new_id
from sessile.store.documents import DocumentStore
from sessile.store.opening import open_store
from sessile.store.waist import Page, Query
from sessile.testing import StoreConformance
from sessile.testing.fixtures import capability, only_in_full
from sessile.testing.waist.expiring import ExpiringTests
from tests.broken_stores import Expiring
from tests.documents import Documents
from tests.servers import MongoServer
from tests.wrapping import Reversed

PATIENT = 30.0  # seconds: a server shares slow cores with other tests


class TestMemory(StoreConformance):
    many_processes = False

    @pytest.fixture
    def store_url(self) -> str:
        return f"memory://{new_id()}"


class AsyncStore:
    """A store whose methods are `async def`."""

    def __init__(self, store: Any) -> None:
        self._store = store

    async def load(self, *args: Any) -> Any:
        await asyncio.sleep(0)
        return self._store.load(*args)

    async def commit(self, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self._store.commit(*args, **kwargs)

    async def read(self, *args: Any) -> Any:
        return self._store.read(*args)

    async def find(self, *args: Any) -> Any:
        return self._store.find(*args)

    async def delete(self, *args: Any, **kwargs: Any) -> None:
        await asyncio.sleep(0)
        self._store.delete(*args, **kwargs)

    async def prune(self, *args: Any) -> None:
        self._store.prune(*args)

    async def logs(self) -> Any:
        return self._store.logs()

    async def close(self) -> None:
        self._store.close()


class TestWrapped(StoreConformance):
    """A store in another one that never sees a text: on both faces, the wrapped one blocking and async."""

    many_processes = False

    @pytest.fixture(params=["blocking", "async"])
    def open_store(self, request: pytest.FixtureRequest) -> Callable[[], Any]:
        name, wrapped = new_id(), AsyncStore if request.param == "async" else (lambda store: store)
        return lambda: Reversed(wrapped(MemorySessionStore(name)))


class TestAsync(StoreConformance):
    many_processes = False

    @pytest.fixture
    def open_store(self) -> Callable[[], Any]:
        name = new_id()
        return lambda: AsyncStore(MemorySessionStore(name))


class ListsEverybody(DocumentStore):
    """With what four methods cannot do, so that all the rest is tested."""

    async def find(self, query: Query) -> Page[Header]:
        await self.load("")  # it may be closed
        return Page.select([h for h in [await self.load(name) for name in self._documents.kept] if h], query)

    async def logs(self) -> list[str]:
        kept = [(name, Header.from_dict(data["header"]), data["entries"]) for name, data in self._documents.kept.items()]
        return [header.log for _, header, entries in kept if entries]


class TestDocuments(StoreConformance):
    many_processes = False
    seconds = 20.0
    test_an_append_costs_the_same_in_a_long_log = None  # its cost grows with the session, as its documentation says

    @pytest.fixture
    def open_store(self) -> Callable[[], Any]:
        documents = Documents()
        return lambda: ListsEverybody(documents)


class TestExpiring(ExpiringTests):
    """The memory store with a `ttl`, which tests of what is broken build upon."""

    @pytest.fixture
    def expiring_store(self) -> Any:
        return Expiring(new_id(), ttl=1.0)


class NativeAsync:
    """Opens the async face of a store. Processes that are started use a URL, and so the blocking one.

    The longest tests run with `--full` only: the blocking face has the same logic, over another client.
    """

    many_processes = False

    @capability("state machine", patience=6)
    @only_in_full
    def test_behaves_like_the_memory_store(self, open_store: Callable[[], Any], in_full: bool) -> None:
        super().test_behaves_like_the_memory_store(open_store, in_full)  # type: ignore[misc]

    @capability("state machine", patience=6)
    @only_in_full
    def test_sessions_are_what_copies_would_be(self, open_store: Callable[[], Any], in_full: bool) -> None:
        super().test_sessions_are_what_copies_would_be(open_store, in_full)  # type: ignore[misc]

    @capability("flat cost", patience=3)
    @only_in_full
    def test_an_append_costs_the_same_in_a_long_log(self, store: Any, in_full: bool) -> None:
        super().test_an_append_costs_the_same_in_a_long_log(store, in_full)  # type: ignore[misc]

    @pytest.fixture
    def open_store(self, store_url: str) -> Iterator[Callable[[], Any]]:
        opened = []

        def open_again() -> Any:
            opened.append(open_store(store_url))
            return opened[-1].asynchronous

        yield open_again
        for store in opened:
            store.close()


class ExpiringAsync(NativeAsync):
    """The same for a store that has a `ttl`."""

    @pytest.fixture
    def expiring_store(self, expiring_store_url: str) -> Iterator[Any]:
        store: Any = open_store(expiring_store_url)
        yield store.asynchronous
        store.close()


class TestFile(StoreConformance):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"file://{tmp_path / 'sessions'}"


class TestSQLite(StoreConformance):
    @pytest.fixture
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'sessions.db'}"


class TestRedis(StoreConformance):
    seconds = PATIENT

    @pytest.fixture
    def store_url(self, redis_server: Any) -> str:
        return redis_server.url()

    @pytest.fixture
    def expiring_store_url(self, redis_server: Any) -> str:
        return f"{redis_server.url()}?ttl=1"


class TestRedisAsync(ExpiringAsync, TestRedis):
    pass


class TestPostgres(StoreConformance):
    seconds = PATIENT

    @pytest.fixture
    def store_url(self, postgres_server: Any) -> str:
        return postgres_server.url()


class TestPostgresAsync(NativeAsync, TestPostgres):
    pass


class TestMongoDB(StoreConformance):
    seconds = PATIENT

    @pytest.fixture
    def store_url(self, mongodb_server: Any) -> str:
        return mongodb_server.url()

    @pytest.fixture
    def expiring_store_url(self, mongodb_server: Any, tmp_path: Path) -> Iterator[str]:
        """A secantusdb is the test's own: while it removes what has expired, it may answer nobody."""
        own = MongoServer(tmp_path) if isinstance(mongodb_server, MongoServer) else None
        yield f"{(own or mongodb_server).url()}?ttl=1"
        if own:
            own.stop()


class TestMongoDBAsync(ExpiringAsync, TestMongoDB):
    pass


def test_the_report_is_whole_though_the_tests_run_in_several_processes(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import pytest\nfrom sessile.testing import StoreConformance\n\n\nclass TestMine(StoreConformance):\n"
        "    @pytest.fixture\n    def store_url(self):\n        return 'memory://'\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-n", "2", "-k", "any_text or filtered", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    said = done.stdout.partition("conformance of TestMine")[2]
    assert re.findall(r"^(\w+) +(\d+) passed +(\d+) failed$", said, re.MULTILINE) in (
        [("commit", "5", "0"), ("find", "1", "0")],
        [("find", "1", "0"), ("commit", "5", "0")],
    ), done.stdout + done.stderr
    assert done.stdout.count("conformance of") == 1
