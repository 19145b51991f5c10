"""The pytest plugin: each conformance test has a time limit, and what was found of a store is printed at the end."""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sessile.testing.limits import Overtime, leave_what_hangs, within

if TYPE_CHECKING:
    from sessile.session import Session

_REWRITTEN = ("waist", "driving", "plugin_conformance")
pytest.register_assert_rewrite(*(f"sessile.testing.{name}" for name in _REWRITTEN))

_STORE, _CAPABILITY = "sessile.store", "sessile.capability"  # properties of a test that its reports carry
_FINDINGS = "sessile-findings"
_FULL = 20  # times as long a heavy test may take under --full
_HANGS = 2  # tests that hang, after which no other of the store is run


@pytest.fixture
def sessile_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty store, for one test. Sessions that name no store lie there meanwhile, too: also those of agents that
    are made in the test, and speak under a session id.
    """
    url = (tmp_path / "sessile-sessions").as_uri()
    monkeypatch.setenv("SESSILE_STORE", url)
    return url


@pytest.fixture
def sessile_session(sessile_store: str) -> Iterator[Session]:
    """A session in the store `sessile_store`, closed at the end. Give it an agent: `session.agent = Agent(model=…)`."""
    from sessile.session import Session

    with Session(store=sessile_store) as session:
        yield session


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests(parser: pytest.Parser) -> Generator[None, object, object]:
    """Add `--full` after the conftests, one of which may have an option of this name: that one is then asked."""
    result = yield
    _, unknown = parser.parse_known_and_unknown_args(["--full"])
    if unknown:
        parser.getgroup("sessile").addoption("--full", action="store_true", help="run the heavy repetitions in full")
    return result


def pytest_configure(config: pytest.Config) -> None:
    text = "capability(name, patience=1): what a conformance test is about, and how many times longer than most it may take"
    config.addinivalue_line("markers", text)
    config.addinivalue_line("markers", "only_in_full: a test that is left out without --full")
    config.pluginmanager.register(_Findings(), _FINDINGS)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if _is_left_out(item)]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        if capability := _capability(item):
            item.user_properties += [(_STORE, _store(item)), (_CAPABILITY, capability)]


def _store(item: pytest.Item) -> str:
    return str(getattr(getattr(item, "cls", None), "__name__", item.nodeid))


def _capability(item: pytest.Item) -> str:
    mark = item.get_closest_marker("capability")
    return str(mark.args[0]) if mark else ""


def _is_left_out(item: pytest.Item) -> bool:
    if item.get_closest_marker("only_in_full") and not full(item.config):
        return True
    kit, capability = getattr(item, "cls", None), _capability(item)
    if kit is not None and capability == "expiry":  # for a store that has a ttl: its author says how it is opened with one
        own = [vars(cls) for cls in kit.__mro__ if cls.__name__ != "ExpiringTests"]
        return not any("expiring_store_url" in names or "expiring_store" in names for names in own)
    return capability in ("many processes", "kill -9") and not getattr(kit, "many_processes", True)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Run a conformance test under its time limit; without one in a debugger."""
    mark = pyfuncitem.get_closest_marker("capability")
    if mark and not pyfuncitem.config.getoption("usepdb"):
        patience = mark.kwargs.get("patience", 1)
        seconds = getattr(pyfuncitem.cls, "seconds", 10) * patience
        if patience > 1 and in_full(pyfuncitem):
            seconds *= _FULL
        what, test = f"{mark.args[0]}: {_store(pyfuncitem)}", pyfuncitem.obj
        findings(pyfuncitem.config).check_hangs(pyfuncitem)
        pyfuncitem.obj = lambda **arguments: within(seconds, what, functools.partial(test, **arguments))
    try:
        return (yield)
    except BaseException as error:  # those of pytest.raises and pytest.fail are no Exception
        if mark and not isinstance(error, Overtime):
            error.add_note(f"{mark.args[0]}: {_store(pyfuncitem)} does not keep this promise")
        raise


class _Findings:
    """Counts outcomes by store and capability, from the reports alone: tests may run in other processes (pytest-xdist)."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, Counter[str]]] = {}
        self.hangs: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        about = {name: str(value) for name, value in report.user_properties}
        if _CAPABILITY in about and (report.when == "call" or report.outcome != "passed"):
            counts = self.counts.setdefault(about[_STORE], {}).setdefault(about[_CAPABILITY], Counter())
            counts[report.outcome] += 1

    def pytest_exception_interact(self, node: Any, call: pytest.CallInfo[Any]) -> None:
        if call.excinfo and call.excinfo.errisinstance(Overtime):
            if not self.hangs:
                leave_what_hangs()
            self.hangs[_store(node)] += 1

    def check_hangs(self, item: pytest.Item) -> None:
        """Fail a test of a store that hung before: it would only wait."""
        if self.hangs[_store(item)] >= _HANGS:
            pytest.fail(f"{_capability(item)}: {_store(item)}: not run, as {_HANGS} tests hung before", pytrace=False)

    def failed(self, store: str) -> bool:
        """Did any test of a store fail so far?"""
        return any(counts["failed"] for counts in self.counts.get(store, {}).values())

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for store, capabilities in sorted(self.counts.items()):
            terminalreporter.section(f"conformance of {store}")
            for name, counts in capabilities.items():
                line = f"{name:24} {counts['passed']:4} passed {counts['failed']:4} failed"
                skipped = f" {counts['skipped']:4} skipped" if counts["skipped"] else ""
                terminalreporter.line(line + skipped, red=bool(counts["failed"]))


def findings(config: pytest.Config) -> _Findings:
    """What was found up to now."""
    found = config.pluginmanager.get_plugin(_FINDINGS)
    assert isinstance(found, _Findings)
    return found


def full(config: pytest.Config) -> bool:
    """Are the heavy repetitions wanted in full: `--full`, or SESSILE_FULL=1?"""
    return bool(config.getoption("full", False)) or bool(os.environ.get("SESSILE_FULL"))


def in_full(item: pytest.Item) -> bool:
    """Does this test run in full? Not once another of the same store failed: that is to be mended first."""
    return full(item.config) and not findings(item.config).failed(_store(item))
