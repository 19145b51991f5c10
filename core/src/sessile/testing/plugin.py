"""The pytest plugin: counts what the conformance kit found for each store and capability, and prints it at the end."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

import pytest

_REWRITTEN = ("waist", "together", "deleting", "sharing", "machine", "graph_machine", "processes", "plugin_conformance")
pytest.register_assert_rewrite(*(f"sessile.testing.{name}" for name in _REWRITTEN))

_outcomes: dict[str, dict[str, Counter[str]]] = {}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "capability(name): what a conformance test is about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    left_out = [item for item in items if _needs_processes(item) and not getattr(item.cls, "many_processes", True)]  # type: ignore[attr-defined]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


def _needs_processes(item: pytest.Item) -> bool:
    mark = item.get_closest_marker("capability")
    return mark is not None and mark.args[0] in ("many processes", "kill -9")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Any:
    report = yield
    mark = item.get_closest_marker("capability")
    if mark and (report.when == "call" or report.outcome != "passed"):
        store = getattr(getattr(item, "cls", None), "__name__", item.nodeid)
        _outcomes.setdefault(store, {}).setdefault(mark.args[0], Counter())[report.outcome] += 1
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for store, capabilities in _outcomes.items():
        terminalreporter.section(f"conformance of {store}")
        for name, counts in capabilities.items():
            failed = sum(counts.values()) - counts["passed"]
            terminalreporter.line(f"{name:24} {counts['passed']:4} passed {failed:4} failed", red=bool(failed))
    _outcomes.clear()


def full(config: pytest.Config) -> bool:
    """Are the heavy repetitions wanted in full: `--full`, where the project defines it, or SESSILE_FULL=1?"""
    return bool(config.getoption("full", False)) or bool(os.environ.get("SESSILE_FULL"))
