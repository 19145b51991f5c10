"""Lists are what the headers say, whatever is lost, refused or cut short, and whoever does something in between."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from sessile import SessionManager
from sessile.errors import Conflict
from sessile.log.header import Header
from sessile.store.opening import open_store
from sessile.store.waist import Page, Query
from sessile.testing.fixtures import born, commit, say


class Cut(BaseException):
    """The process ends here, as it were."""


class Steps:
    """Does something once, at the so-manyth script that a store runs: before it, or after."""

    def __init__(self, store: Any) -> None:
        self._client = store.engine(False).client
        self._evalsha = self._client.evalsha
        self._client.evalsha = self._run
        self._left, self._after, self._action = -1, False, lambda: None

    def at(self, number: int, action: Callable[[], Any], *, after: bool = False) -> None:
        self._left, self._after, self._action = number, after, action

    def _run(self, *arguments: Any) -> Any:
        here = self._left == 0
        self._left -= 1
        if here and not self._after:
            self._action()
        done = self._evalsha(*arguments)
        if here and self._after:
            self._action()
        return done

    @property
    def taken(self) -> bool:
        return self._left < 0


@contextmanager
def opened(url: str) -> Iterator[Any]:
    """A store whose indexes are whole: what a test finds later was not mended by the first list of all."""
    with closing(open_store(url)) as store:
        store.find(Query())
        yield store


@pytest.fixture
def store(url: str) -> Iterator[Any]:
    with opened(url) as store:
        yield store


@pytest.fixture
def other(url: str) -> Iterator[Any]:
    with opened(url) as store:
        yield store


def ids(store: Any, **query: Any) -> list[str]:
    found, page = [], store.find(Query(**query))
    while True:
        found += [header.session_id for header in page]
        if page.cursor is None:
            return found
        page = store.find(Query(**query, cursor=page.cursor))


def cut() -> None:
    raise Cut


# -- what is lost is noticed


def test_an_index_that_was_lost_is_noticed_though_sessions_are_written(
    url: str, store: Any, client: Any, index_keys: Callable[[str], list[bytes]]
) -> None:
    with SessionManager(store) as manager:
        root = manager.create_session("ann", session_id="a")
        root.add_message("user", "x")
        root.fork(session_id="b")
        manager.create_session("bob", session_id="c").add_message("user", "x")
        assert set(ids(store)) == {"a", "b", "c"}
        for lost in ("user_id:ann", ":sessions:", "parent", "root", ":all", ""):
            client.delete(*index_keys(lost))
            assert "not complete" in manager.store.check()["index"]
            root.add_message("user", "said since")  # the key is there again, with one session
            assert "not complete" in manager.store.check()["index"]
            assert ids(store, user_id="ann") == ["a", "b"]
            assert set(ids(store)) == {"a", "b", "c"}
            assert ids(store, parent=store.load("a").log) == [header.session_id for header in root.children()] == ["b"]
            assert ids(store, user_id="nobody") == []
            assert not index_keys("nobody")
            assert manager.store.check()["index"] == "complete, 3 sessions"


def test_what_nobody_is_in_any_more_leaves_no_index(store: Any, index_keys: Callable[[str], list[bytes]]) -> None:
    assert ids(store) == []
    before = index_keys("")
    header = commit(store, born("s", user_id="ann", parent="log.p", root="log.r"), say("x"))
    assert len(index_keys("")) > len(before)
    store.delete("s", expected=header.version)
    assert index_keys("") == before
    assert store.check()["index"] == "complete, 0 sessions"


def test_the_doctor_mends_what_an_index_says_wrong(store: Any, client: Any, index_keys: Callable[[str], list[bytes]]) -> None:
    for number, name in enumerate("abc"):
        commit(store, born(name, user_id="ann"), say("x"), now=100.0 + number)
    assert ids(store, user_id="ann") == ["c", "b", "a"]
    (index,) = index_keys("user_id:ann")
    client.zadd(index, {"never": 500.0, "b": 600.0, "c": 1.0})
    client.zrem(index, "a")
    assert "made again from 3 sessions" in store.check(repair=True)["index"]
    assert client.zrange(index, 0, -1, withscores=True) == [(b"", float("-inf")), (b"a", 100.0), (b"b", 101.0), (b"c", 102.0)]


def test_sessions_that_expired_leave_lists(url: str, store: Any, client: Any, index_keys: Callable[[str], list[bytes]]) -> None:
    from tests.servers import wait_until

    commit(store, born("stays", user_id="ann"), say("x"))
    with closing(open_store(f"{url}{'&' if '?' in url else '?'}ttl=0.05")) as short:
        commit(short, born("goes", user_id="ann"), say("x"))

    def gone() -> None:
        assert not [key for key in client.keys("*{goes}*") if key.endswith(b":header")]

    wait_until(gone, "the expiry")
    assert ids(store, user_id="ann") == ["stays"]
    assert client.zrange(index_keys("user_id:ann")[0], 0, -1)[1:] == [b"stays"]


def test_an_old_time_shows_at_once_where_it_belongs(store: Any) -> None:
    for number in range(6):
        commit(store, born(f"s{number}"), say("x"), now=100.0 + number)
    pending = commit(store, born("copy"), say("x"), now=10_000.0, status="pending")
    commit(store, pending, now=102.5, status="active")
    assert ids(store, limit=2) == ["s5", "s4", "s3", "copy", "s2", "s1", "s0"]
    assert ids(store, before=103.0, limit=2) == ["copy", "s2", "s1", "s0"]


def test_a_refused_commit_moves_nothing(store: Any) -> None:
    first = commit(store, born("a", user_id="ann"), say("x"), now=100.0)
    commit(store, born("b", user_id="ann"), say("x"), now=200.0)
    commit(store, first, say("y"), now=101.0)
    with pytest.raises(Conflict):
        commit(store, first, say("late"), now=900.0)
    with pytest.raises(Conflict):
        commit(store, born("b", user_id="bob"), say("late"), now=900.0)
    for limit in (1, 50):
        assert ids(store, limit=limit, user_id="ann") == ["b", "a"]
        assert ids(store, limit=limit) == ["b", "a"]
    assert ids(store, after=500.0) == []
    assert ids(store, user_id="bob") == []


# -- in between


@pytest.mark.parametrize("number", range(6))
@pytest.mark.parametrize("after", [False, True])
def test_a_rebuild_while_sessions_are_written(
    store: Any, other: Any, client: Any, index_keys: Callable[[str], list[bytes]], number: int, after: bool
) -> None:
    header = commit(store, born("old", user_id="ann"), say("x"), now=100.0)
    for index in range(5):
        commit(store, born(f"s{index}", user_id="bob"), say("x"), now=200.0 + index)
    ids(store)
    client.delete(*index_keys(""))
    steps = Steps(store)

    def write() -> None:
        commit(other, header, say("y"), now=300.0)
        commit(other, born("new", user_id="ann"), say("x"), now=400.0)

    steps.at(number, write, after=after)
    ids(store, user_id="ann")
    if not steps.taken:
        write()
    for one in (store, other):
        assert ids(one, user_id="ann") == ["new", "old"]
        assert ids(one) == ["new", "old", "s4", "s3", "s2", "s1", "s0"]


@pytest.mark.parametrize("part", ["", "user_id:bob"])
def test_an_index_that_is_lost_while_it_is_made_again(
    store: Any, client: Any, index_keys: Callable[[str], list[bytes]], part: str
) -> None:
    for index in range(5):
        commit(store, born(f"s{index}", user_id="bob"), say("x"), now=200.0 + index)
    ids(store)
    steps = Steps(store)

    def lose() -> None:
        if keys := index_keys(part):
            client.delete(*keys)

    for number in range(50):
        lose()
        steps.at(number, lose)
        for _ in range(2):
            assert ids(store, user_id="bob") == ["s4", "s3", "s2", "s1", "s0"]
        if not steps.taken:
            break
    assert number > 5


@pytest.mark.parametrize("cluster_step", range(3))
@pytest.mark.parametrize("after", [False, True])
def test_a_commit_that_is_cut_short_on_a_cluster(cluster_url: str, cluster_step: int, after: bool) -> None:
    with opened(cluster_url) as store, opened(cluster_url) as other:
        first = commit(store, born("a", user_id="ann"), say("x"), now=100.0)
        commit(store, born("b", user_id="ann"), say("x"), now=200.0)
        Steps(store).at(cluster_step, cut, after=after)
        with pytest.raises(Cut):
            commit(store, first, say("y"), now=300.0)
        landed = other.load("a").version != first.version
        assert landed == (cluster_step > 1 or (cluster_step == 1 and after))
        for limit in (1, 50):
            assert ids(other, user_id="ann", limit=limit) == (["a", "b"] if landed else ["b", "a"])
        assert ids(other, after=250.0) == (["a"] if landed else [])
        commit(other, other.load("a"), say("z"), now=150.0)
        for limit in (1, 50):
            assert ids(store, user_id="ann", limit=limit) == ["b", "a"]


@pytest.mark.parametrize("cluster_step", range(3))
def test_another_writes_between_the_steps_on_a_cluster(cluster_url: str, cluster_step: int) -> None:
    with opened(cluster_url) as store, opened(cluster_url) as other:
        first = commit(store, born("a"), say("x"), now=100.0)
        commit(store, born("b"), say("x"), now=200.0)

        def write() -> None:
            assert ids(other) == (["a", "b"] if cluster_step > 1 else ["b", "a"])
            commit(other, other.load("a"), say("theirs"), now=50.0)

        Steps(store).at(cluster_step, write)
        with suppress(Conflict):
            commit(store, first, say("y"), now=300.0)
        assert ids(other) == ["b", "a"]
        commit(store, store.load("a"), say("z"), now=400.0)
        assert ids(other) == ["a", "b"]
        client = store.engine(False).client
        (index,) = [key for key in client.scan_iter("*:index:*:sessions:*") if cluster_url.partition("=")[2] in key.decode()]
        assert client.zscore(index, "a") == 400.0, "no flag is left"


@pytest.mark.parametrize("cluster_step", range(3))
def test_a_newer_time_is_never_taken_back_on_a_cluster(cluster_url: str, cluster_step: int) -> None:
    with opened(cluster_url) as store, opened(cluster_url) as other:
        first = commit(store, born("a"), say("x"), now=100.0)
        for index in range(5):
            commit(store, born(f"b{index}"), say("x"), now=200.0 + index)
        Steps(store).at(cluster_step, lambda: commit(other, other.load("a"), say("theirs"), now=900.0))
        with suppress(Conflict):
            commit(store, first, say("y"), now=150.0)
        for one in (store, other):
            assert [header.session_id for header in one.find(Query(limit=1))] == ["a"]


def test_a_session_that_is_begun_while_another_of_its_id_comes_and_goes_on_a_cluster(cluster_url: str) -> None:
    with opened(cluster_url) as store, opened(cluster_url) as other:

        def come_and_go() -> None:
            header = commit(other, born("s", user_id="bob"), say("x"), now=10.0)
            other.delete("s", expected=header.version)

        Steps(store).at(1, come_and_go)
        commit(store, born("s", user_id="ann"), say("x"), now=100.0)
        assert ids(other) == ids(other, user_id="ann") == ["s"]
        assert ids(other, user_id="bob") == []


# -- whatever is done

_examples = itertools.count()
_users = st.sampled_from(["ann", "bob"])
_names = st.sampled_from("abcde")
_numbers = st.integers(0, 9)


class IndexMachine(RuleBasedStateMachine):
    """Commits, deletes, refusals and ends at any step, keys that are dropped: lists are what the headers say."""

    def __init__(self, store: Any, client: Any, index_keys: Callable[[str], list[bytes]]) -> None:
        super().__init__()
        self.store, self.client, self.index_keys = store, client, index_keys
        self.steps = Steps(store)

    @initialize()
    def begin(self) -> None:
        self.prefix = f"m{next(_examples)}-"

    def _header(self, name: str) -> Header | None:
        found: Header | None = self.store.load(self.prefix + name)
        return found

    def _cut_at(self, step: int | None, after: bool, action: Callable[[], Any]) -> None:
        if step is not None:
            self.steps.at(step, cut, after=after)
        with suppress(Cut, Conflict):
            action()
        self.steps.at(-1, cut)

    @rule(name=_names, user=_users, now=_numbers, stale=st.booleans(), step=st.none() | st.integers(0, 2), after=st.booleans())
    def commit(self, name: str, user: str, now: int, stale: bool, step: int | None, after: bool) -> None:
        header = self._header(name) or born(self.prefix + name, user_id=user)
        if stale:
            header = born(self.prefix + name, user_id=user, version=header.version + 1)
        self._cut_at(step, after, lambda: commit(self.store, header, now=float(now)))

    @rule(name=_names, stale=st.booleans(), step=st.none() | st.integers(0, 2), after=st.booleans())
    def delete(self, name: str, stale: bool, step: int | None, after: bool) -> None:
        header = self._header(name)
        version = (header.version if header else 7) + stale
        self._cut_at(step, after, lambda: self.store.delete(self.prefix + name, expected=version))

    @rule(pick=st.integers(0, 99))
    def drop(self, pick: int) -> None:
        if keys := sorted(self.index_keys("")):
            self.client.delete(keys[pick % len(keys)])

    @rule(pick=st.integers(0, 99), step=st.integers(0, 5))
    def drop_in_between(self, pick: int, step: int) -> None:
        self.steps.at(step, lambda: self.drop(pick))
        self.lists_are_what_headers_say()
        self.steps.at(-1, cut)

    @rule()
    def repair(self) -> None:
        assert "made again" in self.store.check(repair=True)["index"]
        assert self.store.check()["index"].startswith("complete")

    @rule(user=st.none() | _users, limit=st.integers(1, 3), before=st.none() | _numbers)
    def find(self, user: str | None, limit: int, before: int | None) -> None:
        query = {"user_id": user, "prefix": self.prefix, "before": before}
        headers = [header for name in "abcde" if (header := self._header(name))]
        wanted = [header.session_id for header in Page.select(headers, Query(**query))]
        assert ids(self.store, limit=limit, **query) == wanted

    @invariant()
    def lists_are_what_headers_say(self) -> None:
        if hasattr(self, "prefix"):
            self.find(None, 2, None)


def test_lists_are_what_headers_say(
    store: Any, client: Any, index_keys: Callable[[str], list[bytes]], pytestconfig: pytest.Config
) -> None:
    run_state_machine_as_test(
        lambda: IndexMachine(store, client, index_keys),  # type: ignore[arg-type]
        settings=settings(
            max_examples=400 if pytestconfig.getoption("full") else 30,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.parametrize("listed", [True, False])
def test_indexes_of_what_has_expired_do_not_add_up(
    url: str, client: Any, index_keys: Callable[[str], list[bytes]], listed: bool
) -> None:
    from tests.servers import wait_until

    prefix = url.partition("?prefix=")[2] or "sessile"

    def gone() -> None:
        assert not client.keys(f"{prefix}:{{s*}}:header")

    def left() -> list[bytes]:
        return [key for part in ("user_id:u", "root:", "parent:") for key in index_keys(part)]

    def said() -> int:
        return sum(client.zcard(key) for key in index_keys("") if client.type(key) == b"zset")

    with closing(open_store(f"{url}{'&' if '?' in url else '?'}ttl=0.2")) as short:
        if listed:  # else nobody has ever asked for a list, and the indexes are not whole
            short.find(Query())
        for number in range(60):
            now = time.time()
            commit(short, born(f"s{number}", user_id=f"u{number}", root=f"r.r{number}", parent=f"r.r{number}"), say("x"), now=now)
        assert len(left()) > 90  # of three indexes each, some may have gone already
        wait_until(gone, "the expiry")
        for number in range(90):
            commit(short, born(f"later{number}", user_id="ann"), say("x"), now=time.time())
            time.sleep(0.001)
        assert said() < 2 * 90 + 200  # of 60 in five indexes; each looks at four indexes, nearly all of which are of these

        def all_gone() -> None:
            assert not short.find(Query()).items

        wait_until(all_gone, "the end of all")
        short.check(repair=True)
        assert not left()
