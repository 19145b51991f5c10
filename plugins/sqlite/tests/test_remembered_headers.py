"""Headers that a store remembers, while another process changes them: no stale answer, ever."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from sessile import Session, SessionManager, SQLiteSessionStore
from sessile.testing.plugin import full

NAMES = st.sampled_from(["a", "b", "c"])


class Here:
    """What is done in this process, with one store."""

    def __init__(self) -> None:
        self.store = SQLiteSessionStore("none.db")

    def open(self, path: str) -> None:
        self.store.close()
        self.store = SQLiteSessionStore(path)

    def say(self, name: str, text: str) -> None:
        Session(name, store=self.store).add_message("user", text)

    def set(self, name: str, number: int) -> None:
        Session(name, store=self.store).set_state("number", number)

    def title(self, name: str, text: str) -> None:
        Session(name, store=self.store).title = text

    def delete(self, name: str) -> None:
        SessionManager(self.store).delete(name)

    def seen(self, name: str) -> Any:
        header = self.store.load(name)
        return None if header is None else [header.version, header.count, header.title, header.state, header.log]


class There:
    """The same in another process, which runs this file."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __getattr__(self, name: str) -> Any:
        if name not in vars(Here):
            raise AttributeError(name)

        def call(*args: Any) -> Any:
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            print(json.dumps([name, *args]), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())

        return call

    def end(self) -> None:
        self._process.communicate()


def test_no_process_has_an_old_header(pytestconfig: pytest.Config) -> None:
    here, there = Here(), There()

    class Machine(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.folder = tempfile.TemporaryDirectory()
            for one in (here, there):
                one.open(str(Path(self.folder.name) / "x.db"))

        @rule(one=st.sampled_from([here, there]), name=NAMES, text=st.text("xyz", max_size=3))
        def say(self, one: Any, name: str, text: str) -> None:
            one.say(name, text)

        @rule(one=st.sampled_from([here, there]), name=NAMES, number=st.integers(0, 9))
        def set(self, one: Any, name: str, number: int) -> None:
            one.set(name, number)

        @rule(one=st.sampled_from([here, there]), name=NAMES, text=st.text("xyz", max_size=3))
        def title(self, one: Any, name: str, text: str) -> None:
            one.title(name, text)

        @rule(one=st.sampled_from([here, there]), name=NAMES)
        def delete(self, one: Any, name: str) -> None:
            one.delete(name)

        @rule(name=NAMES)
        def look(self, name: str) -> None:
            fresh = Here()
            fresh.open(str(Path(self.folder.name) / "x.db"))
            assert here.seen(name) == there.seen(name) == fresh.seen(name)
            fresh.store.close()

        def teardown(self) -> None:
            if hasattr(self, "folder"):
                for name in ("a", "b", "c"):
                    self.look(name)
                self.folder.cleanup()

    examples = 500 if full(pytestconfig) else 15
    try:
        run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=30, deadline=None))
    finally:
        here.store.close()
        there.end()


if __name__ == "__main__":
    served = Here()
    for line in sys.stdin:
        asked, *given = json.loads(line)
        print(json.dumps(getattr(served, asked)(*given)), flush=True)
