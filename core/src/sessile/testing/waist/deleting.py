"""Deleting a session that others were forked from, cut short at any point: the forks are whole."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from sessile.drive.faces import Blocking, run
from sessile.session import Session
from sessile.session.managing.manager import SessionManager
from sessile.testing.fixtures import StoreFixtures, capability, headers

_LENGTH = 150  # messages: more than a store may keep together


class Cut(BaseException):
    """The process ends here, as it were."""


class CutStore:
    """A store that ends the process, as it were, at one of its calls: before it is done, or after."""

    def __init__(self, store: Any, call: int, *, after: bool) -> None:
        self._store, self._left, self._after = store, call, after

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            self._left -= 1
            if self._left < 0 and not self._after:
                raise Cut
            result = method(*args, **kwargs)
            if self._left < 0:
                raise Cut
            return result

        return counted if callable(method) else method


def family(store: Any, name: str) -> None:
    """A session, what was forked from it, and a fork of that, reverted to before its own first message."""
    parent = Session(f"{name}-parent", store=store)
    parent.add_messages([("user", str(number)) for number in range(_LENGTH)])
    child = parent.fork(_LENGTH - 1, f"{name}-child")
    child.add_message("user", "own")
    child.fork(session_id=f"{name}-grandchild").revert(10)


def check_family(store: Any, name: str) -> None:
    """Both forks hold what they did; the parent is whole, or gone for everybody."""
    numbers = [str(number) for number in range(_LENGTH)]
    child, grandchild = Session(f"{name}-child", store=store), Session(f"{name}-grandchild", store=store)
    assert [said.text for said in child.messages] == [*numbers[:-1], "own"]
    assert [said.text for said in grandchild.messages] == numbers[:10]
    assert child.verify()
    assert grandchild.verify()
    with SessionManager(store) as manager:
        parent = manager.get_session(f"{name}-parent")
        assert parent is None or [said.text for said in parent.messages] == numbers


def check_nothing_left(store: Any, name: str) -> None:
    """Once the delete is done again and the forks are deleted as well, nothing is left of the family."""
    with SessionManager(store) as manager:
        manager.delete(f"{name}-parent")
        check_family(store, name)
        assert not manager.exists(f"{name}-parent")
        assert manager.delete(f"{name}-child")
        assert manager.delete(f"{name}-grandchild")
        assert not manager.list(prefix=name).items
        assert not [log for log in run(Blocking().call(manager.store.logs)) if name in log]
        assert not [header for header in headers(manager.store, prefix="~") if name in header.session_id]


class DeletingTests(StoreFixtures):
    """See the module's text."""

    @capability("delete", patience=3)
    def test_forks_are_whole_wherever_a_delete_ends(self, open_driven: Callable[[], Any]) -> None:
        store = open_driven()
        for after in (False, True):
            for call in range(100):
                name = f"f{call}{after}"
                family(store, name)
                try:
                    with SessionManager(CutStore(store, call, after=after)) as manager:
                        manager.delete(f"{name}-parent")
                    done = True
                except Cut:
                    done = False
                check_family(store, name)
                check_nothing_left(store, name)
                if done:
                    break
            assert done
            assert call > 5

    @capability("kill -9", patience=6)
    def test_forks_are_whole_when_a_delete_is_killed(self, store_url: str, in_full: bool) -> None:
        rng = random.Random(9)
        rounds = 50 if in_full else 3
        killed, longest = 0, 0.02
        with SessionManager(store_url) as manager:
            for number in range(rounds * 4):
                name = f"k{number}"
                family(manager.store, name)
                if self._kill_deleter(store_url, f"{name}-parent", rng.random() * longest):
                    killed += 1
                else:
                    longest *= 0.7
                check_family(manager.store, name)
                check_nothing_left(manager.store, name)
                if killed == rounds:
                    break
        assert killed, "each delete was done before it was killed"

    @staticmethod
    def _kill_deleter(url: str, session_id: str, seconds: float) -> bool:
        """Kill a process some time after it began to delete a session; was it still at it?"""
        command = [sys.executable, "-m", "sessile.testing.driving.deleter", url, session_id]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "begin\n", process.communicate()[1]
        time.sleep(seconds)
        process.kill()
        said, _ = process.communicate()
        return "done" not in said
