"""The pytest plugin: counts what the conformance kit found for each store and capability, and prints it at the end."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

_REWRITTEN = ("waist", "together", "deleting", "sharing", "machine", "graph_machine", "processes", "plugin_conformance")
pytest.register_assert_rewrite(*(f"sessile.testing.{name}" for name in _REWRITTEN))

_STORE, _CAPABILITY = "sessile.store", "sessile.capability"  # properties of a test that its reports carry


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "capability(name): what a conformance test is about")
    config.pluginmanager.register(_Findings())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if _needs_processes(item) and not getattr(item.cls, "many_processes", True)]  # type: ignore[attr-defined]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)
    for item in items:
        if capability := _capability(item):
            store = getattr(getattr(item, "cls", None), "__name__", item.nodeid)
            item.user_properties += [(_STORE, store), (_CAPABILITY, capability)]


def _capability(item: pytest.Item) -> str:
    mark = item.get_closest_marker("capability")
    return str(mark.args[0]) if mark else ""


def _needs_processes(item: pytest.Item) -> bool:
    return _capability(item) in ("many processes", "kill -9")


class _Findings:
    """Counts outcomes by store and capability, from the reports alone: tests may run in other processes (pytest-xdist)."""

    def __init__(self) -> None:
        self.counts: dict[str, dict[str, Counter[str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        about = {name: str(value) for name, value in report.user_properties}
        if _CAPABILITY in about and (report.when == "call" or report.outcome != "passed"):
            counts = self.counts.setdefault(about[_STORE], {}).setdefault(about[_CAPABILITY], Counter())
            counts[report.outcome] += 1

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        for store, capabilities in sorted(self.counts.items()):
            terminalreporter.section(f"conformance of {store}")
            for name, counts in capabilities.items():
                failed = sum(counts.values()) - counts["passed"]
                terminalreporter.line(f"{name:24} {counts['passed']:4} passed {failed:4} failed", red=bool(failed))


def full(config: pytest.Config) -> bool:
    """Are the heavy repetitions wanted in full: `--full`, where the project defines it, or SESSILE_FULL=1?"""
    return bool(config.getoption("full", False)) or bool(os.environ.get("SESSILE_FULL"))
