"""The conformance kit finds each fault of a broken store, soon, and says which capability it is about."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from sessile import MemorySessionStore
from sessile.errors import CorruptStore
from sessile.testing import StoreConformance
from tests.broken_stores import FAULTS

assert StoreConformance  # imported once, not by each of the runs

# By fault, the capability that a first failure names.
NAMED = {
    "LostUpdate": "commit",
    "TornWrite": "commit",
    "DroppedEntry": "commit",
    "WrongOrder": "commit",
    "OffByOne": "read",
    "LeakedUsers": "find",
    "LogLeft": "prune",
    "MetIds": "isolation",
    "DoubledEntry": "read",
    "GrowingCost": "flat cost",
    "SwallowedConflict": "commit",
    "LateDelete": "delete",
    "Unwritten": "commit",
    "StaleRead": "commit",
    "UnconditionalDelete": "commit",
    "ShortRange": "commit",
    "HiddenShown": "find",
    "HeaderFirst": "commit",
    "WholeFloats": "commit",
    "CutTitle": "commit",
    "DroppedNul": "commit",
    "DroppedNulInTitle": "commit",
    "SmallCommits": "commit",
    "EverybodysSearch": "search",
    "DeafWait": "watch",
    "UntouchedLogs": "expiry",
    "ListedForEver": "expiry",
}
# Those are found by tests that come late: only they are run.
LATE = {"DeafWait": "another_device", "UntouchedLogs": "lives_as_long", "ListedForEver": "expired_session"}
TESTS = """
import pytest
from sessile.store import new_id
from sessile.testing import StoreConformance
from tests import broken_stores

class TestIt(StoreConformance):
    many_processes = False
    seconds = {seconds}

    @pytest.fixture
    def open_store(self):
        name = new_id()
        return lambda: broken_stores.{fault}(name)

    if issubclass(broken_stores.{fault}, broken_stores.Expiring):
        @pytest.fixture
        def expiring_store(self):
            return broken_stores.{fault}(new_id(), ttl=1.0)
"""


def run_kit(pytester: pytest.Pytester, fault: str, *options: str, seconds: int = 10, process: bool = False) -> tuple[str, float]:
    """What the kit says of a store, and how long it takes."""
    pytester.makepyfile(test_it=TESTS.format(fault=fault, seconds=seconds))
    pytester.makeini(f"[pytest]\npythonpath = {Path(__file__).parent.parent}")
    begin = time.monotonic()
    if process:
        result = pytester.runpytest_subprocess("-p", "no:cacheprovider", *options, timeout=60)
    else:
        result = pytester.runpytest_inprocess("-p", "no:cacheprovider", *options)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    return result.stdout.str(), time.monotonic() - begin


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_failure_comes_soon_and_names_the_capability(fault: str, pytester: pytest.Pytester) -> None:
    said, took = run_kit(pytester, fault, "-x", *(("-k", LATE[fault]) if fault in LATE else ()))
    assert f"{NAMED[fault]}: TestIt does not keep this promise" in said, said
    assert re.search(rf"^{NAMED[fault]} +\d+ passed +1 failed$", said, re.MULTILINE), said
    assert took < 10


@pytest.mark.parametrize("theirs", ["", "parser.addoption", "parser.getgroup('theirs').addoption"])
def test_the_heavy_repetitions_are_an_option_of_every_project(theirs: str, pytester: pytest.Pytester) -> None:
    """A project that has an option of this name keeps it."""
    if theirs:
        pytester.makeconftest(f"def pytest_addoption(parser):\n    {theirs}('--full', action='store_true', help='theirs')\n")
    pytester.makepyfile("""
        from sessile.testing.plugin import full
        def test_full(pytestconfig):
            assert full(pytestconfig)
        """)
    assert pytester.runpytest_inprocess("-p", "no:cacheprovider", "--full").ret == pytest.ExitCode.OK
    assert pytester.runpytest_inprocess("-p", "no:cacheprovider").ret == pytest.ExitCode.TESTS_FAILED
    said = pytester.runpytest_inprocess("--help").stdout.str()
    assert [*re.findall(r"--full +(.*)", said)] == ["theirs" if theirs else "run the heavy repetitions in full"]


@pytest.mark.only_in_full  # half a minute for each
@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_store_does_not_hold_the_whole_kit(
    fault: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SESSILE_FULL", "1")
    said, took = run_kit(pytester, fault)
    assert re.search(rf"^{NAMED[fault]} +\d+ passed +[1-9]\d* failed$", said, re.MULTILINE), said
    assert took < 90


@pytest.fixture
def short_summaries(monkeypatch: pytest.MonkeyPatch) -> None:
    """pytest repeats whole messages at the end of a run where it believes to be in a CI."""
    for name in ("CI", "BUILD_NUMBER"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("short_summaries")
def test_a_store_that_hangs_is_named_and_left_behind(pytester: pytest.Pytester) -> None:
    said, _ = run_kit(pytester, "Hanging", seconds=1, process=True)
    assert "commit: TestIt: not done within 1 s: does Hanging.delete hang?" in said
    assert said.count("does Hanging.delete hang?") == 2
    assert re.search(r"watch: TestIt: not run, as 2 tests hung before", said)


def test_the_process_ends_though_a_thread_of_a_pool_hangs(pytester: pytest.Pytester) -> None:
    said, _ = run_kit(pytester, "HangingCommit", "-k", "async_for", seconds=1, process=True)
    assert "watch: TestIt: not done within 1 s: does a method hang?" in said


def test_the_races_find_a_step_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at the parent after the claims, a fork loses what it inherited."""

    async def never(commits: Any, log: str) -> bool:
        return False

    monkeypatch.setattr("sessile.graph.forks.is_dead", never)
    store = MemorySessionStore()
    with pytest.raises((AssertionError, CorruptStore)):
        StoreConformance().test_another_comes_between_any_two_calls(lambda: store, "fork, begin the parent anew")
