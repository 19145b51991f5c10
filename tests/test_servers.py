"""The servers under faults and load: answers lost on the way, kill -9 and restart, many writers, many that start at once."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sessile import Agent, AsyncSession, Session, SessionManager
from sessile.errors import StoreUnavailable
from sessile.store.opening import open_store
from tests.proxy import Proxy
from tests.servers import MongoServer, PostgresServer, RedisServer
from tests.stores import SERVERS, url_of


@pytest.fixture(params=["file", "sqlite", *SERVERS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty place on each store that processes share."""
    if request.param in SERVERS:
        return request.getfixturevalue(f"{request.param}_server").url()
    return url_of(request.param, tmp_path)


@pytest.fixture
def proxied(server_url: str) -> Iterator[Callable[..., Proxy]]:
    made: list[Proxy] = []

    def through(**options: Any) -> Proxy:
        made.append(Proxy(server_url, **options))
        return made[-1]

    yield through
    for proxy in made:
        proxy.close()


def test_answers_lost_between_commit_and_client(
    proxied: Callable[..., Proxy], server_url: str, pytestconfig: pytest.Config
) -> None:
    wanted = 200 if pytestconfig.getoption("full") else 10  # a MongoDB driver needs half a second to come back from each
    proxy = proxied(seed=4)
    with Session("s", store=proxy.url) as session:
        session.add_message("user", "first")
        proxy.cut = 0.1
        said = ["first"]
        while proxy.cuts < wanted:
            assert len(said) < 100 * wanted, "the proxy is not in the way"
            said.append(f"{len(said)}")
            session.add_message("user", said[-1])
        proxy.cut = 0
    with Session("s", store=server_url) as session:
        assert [message.text for message in session.messages] == said
        assert session.verify()


def test_two_writers_whose_answers_get_lost(proxied: Callable[..., Proxy], server_url: str, pytestconfig: pytest.Config) -> None:
    wanted = 50 if pytestconfig.getoption("full") else 5
    proxy = proxied(seed=5)
    with Session("s", store=server_url) as session:
        session.add_message("user", "first")
    stored = {"a": 0, "b": 0}  # by writer, how many of its messages were acknowledged

    def write(name: str) -> None:
        with Session("s", store=proxy.url) as session:
            while proxy.cuts < wanted and stored[name] < 200 * wanted:
                session.add_message("user", f"{name} {stored[name]}")
                stored[name] += 1

    with Session("s", store=proxy.url):  # connected
        proxy.cut = 0.05
        threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        proxy.cut = 0
    with Session("s", store=server_url) as session:
        said = [message.text for message in session.messages]
    assert Counter(said) == Counter(["first", *(f"{name} {number}" for name in "ab" for number in range(stored[name]))])
    assert proxy.cuts >= wanted, "the proxy is not in the way"


def test_round_trips_of_an_append(proxied: Callable[..., Proxy]) -> None:
    proxy = proxied()
    with Session("s", store=proxy.url) as session:
        for _ in range(3):
            session.add_message("user", "x")
        before = proxy.round_trips
        for _ in range(100):
            session.add_message("user", "x")
    # MongoDB: one update, and three round trips more for the bucket that is made of 78 entries now and then
    assert 100 <= proxy.round_trips - before <= 106


def test_round_trips_of_a_first_chat(proxied: Callable[..., Proxy]) -> None:
    proxy = proxied()
    agent = Agent(model="echo")
    with closing(open_store(proxy.url)) as store:
        for number in range(21):
            if number == 1:  # connected, and the schema is there
                before = proxy.round_trips
            with Session(f"s{number}", store=store, agent=agent) as session:
                session.chat("hello")
    # is it there, the question, the answer; and a driver may look after its server now and then
    assert 60 <= proxy.round_trips - before <= 63


@pytest.mark.parametrize("face", ["blocking", "async"])
def test_a_pool_makes_as_many_connections_as_it_may(proxied: Callable[..., Proxy], face: str) -> None:
    proxy = proxied()
    store = open_store(proxy.url_with("pool_size=3"))
    assert proxy.connections == 0, "it connects when it is first used"

    def say(number: int) -> None:
        with Session(f"s{number}", store=store) as session:
            session.add_message("user", "x")

    async def say_all() -> None:
        async def say(number: int) -> None:
            async with AsyncSession(f"s{number}", store=store) as session:
                await session.add_message("user", "x")

        await asyncio.gather(*map(say, range(60)))

    if face == "async":
        asyncio.run(say_all())
    else:
        with ThreadPoolExecutor(20) as threads:
            list(threads.map(say, range(60)))
    assert len([*SessionManager(store).each()]) == 60
    store.close()
    # three for each face (the manager is blocking), and what a driver makes to look after its server
    assert 0 < proxy.connections <= (3 + 2) * (2 if face == "async" else 1)


@pytest.fixture(params=[RedisServer, PostgresServer, MongoServer], ids=SERVERS)
def own_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """A server that a test may kill."""
    server = request.param() if request.param is PostgresServer else request.param(tmp_path / "server")
    yield server
    server.stop()


def test_a_server_is_killed_and_started_again_under_load(own_server: Any, pytestconfig: pytest.Config) -> None:
    url = own_server.url()
    stored = {"a": 0, "b": 0}  # by writer, how many of its messages were acknowledged
    stop = threading.Event()

    def write(name: str) -> None:
        with Session("s", store=url, timeout=60) as session:
            while not stop.is_set():
                session.add_message("user", f"{name} {stored[name]}")
                stored[name] += 1

    def both_write(seconds: float) -> None:
        """Wait until both have stored something from now on."""
        before, give_up = dict(stored), time.monotonic() + seconds
        while any(stored[name] == before[name] for name in stored):
            assert time.monotonic() < give_up, f"they did not carry on within {seconds} s: {before}, {stored}"
            time.sleep(0.01)

    threads = [threading.Thread(target=write, args=(name,)) for name in stored]
    for thread in threads:
        thread.start()
    try:
        both_write(10)
        for _ in range(5 if pytestconfig.getoption("full") else 1):
            time.sleep(random.random() / 10)  # at any instant of what they do
            own_server.kill()
            own_server.start()
            both_write(10)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    with Session("s", store=url) as session:
        said = Counter(message.text for message in session.messages)
    assert said == Counter(f"{name} {number}" for name, count in stored.items() for number in range(count))


def test_many_writers_of_many_sessions(url: str, pytestconfig: pytest.Config) -> None:
    sessions, writers = (200, 20) if pytestconfig.getoption("full") else (12, 5)

    def write(number: int) -> None:
        with Session(f"s{number % sessions}", store=url) as session:
            session.add_message("user", f"{number // sessions}")

    with SessionManager(url) as manager, ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(sessions * writers)))
        for number in range(sessions):
            session = manager.get_session(f"s{number}")
            assert session is not None
            assert Counter(message.text for message in session.messages) == Counter(str(n) for n in range(writers))


_OPEN = """
import sys
from sessile import Session
from sessile.store import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with Session(sys.argv[2], store=store) as session: session.add_message('user', 'x')
"""


def test_processes_that_open_an_empty_database_at_the_same_instant(url: str, pytestconfig: pytest.Config) -> None:
    count = 20 if pytestconfig.getoption("full") else 4
    pipes: Any = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    commands = [[sys.executable, "-c", _OPEN, url, f"s{number}"] for number in range(count)]
    started = [subprocess.Popen(command, text=True, **pipes) for command in commands]
    for process in started:
        assert process.stdout.readline() == "ready\n", process.communicate()
    for process in started:
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in started:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    with SessionManager(url) as manager:
        assert len([*manager.each()]) == count


@pytest.mark.parametrize("face", ["blocking", "async"])
def test_a_network_that_goes_and_comes_back(proxied: Callable[..., Proxy], server_url: str, face: str) -> None:
    proxy = proxied()
    url = proxy.url_with("timeout=0.5")

    async def say() -> None:
        async with AsyncSession("s", store=url, timeout=0.5) as session:
            await session.add_message("user", "before")
            begin = freeze()
            with pytest.raises(StoreUnavailable):
                await session.add_message("user", "meanwhile")
            thaw(begin)
            await session.add_message("user", "after")

    def freeze() -> float:
        proxy.frozen = True
        return time.monotonic()

    def thaw(begin: float) -> None:
        assert time.monotonic() - begin < 10  # a few timeouts, of commits and of looking whether they landed
        proxy.frozen = False

    if face == "async":
        asyncio.run(say())
    else:
        with Session("s", store=url, timeout=0.5) as session:
            session.add_message("user", "before")
            begin = freeze()
            with pytest.raises(StoreUnavailable):
                session.add_message("user", "meanwhile")
            thaw(begin)
            session.add_message("user", "after")
    with Session("s", store=server_url) as session:
        said = [message.text for message in session.messages]
    assert said in (["before", "after"], ["before", "meanwhile", "after"])


# -- a thousand conversations


def test_many_conversations_at_once(server_url: str, pytestconfig: pytest.Config) -> None:
    from sessile import Agent

    count = 1000 if pytestconfig.getoption("full") else 60

    class Together:
        """A model that answers nobody before all have asked."""

        def __init__(self) -> None:
            self.asked = 0
            self.all_asked = asyncio.Event()

        async def generate(self, request: Any) -> str:
            self.asked += 1
            if self.asked == count:
                self.all_asked.set()
            await asyncio.wait_for(self.all_asked.wait(), 60)
            return "done"

    model = Together()

    async def one(number: int) -> str:
        async with AsyncSession(f"c{number}", store=server_url, agent=Agent(model=model)) as session:
            return await session.chat("hello")

    async def all_of_them() -> list[str]:
        return await asyncio.gather(*map(one, range(count)))

    assert asyncio.run(all_of_them()) == ["done"] * count
    with SessionManager(server_url) as manager:
        assert {header.count for header in manager.each()} == {2}


# -- a process that forks


def test_a_forked_process_uses_a_server_by_itself(server_url: str) -> None:
    program = Path(__file__).parent.parent / "core" / "tests" / "forked.py"
    command = [sys.executable, "-W", "ignore", str(program), server_url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "parent\nchild\nparent\n"), done.stderr
