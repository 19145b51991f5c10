"""What callers hold, as type checkers see it: a user's program, and mistakes, under `mypy --strict` and under pyright."""

from __future__ import annotations

import ast
import functools
import inspect
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest

import sessile
from sessile.plugins import hookspecs
from sessile.plugins.discovery import installed
from sessile.plugins.hookspecs import HOOKS
from sessile.session.agents.base import AgentOptions
from sessile.session.base import OpeningOptions, SessionOptions
from sessile.session.managing.handle import QueryFields
from sessile.store import Query

HERE = Path(__file__).parent / "typed"
ROOT = HERE.parent.parent
Found = set[tuple[str, int]]


def mypy() -> Found:
    done = _run("mypy", "--strict", "--output=json", "--cache-dir", str(_cache()), *map(str, HERE.glob("*.py")))
    assert (done.returncode, done.stderr) in ((0, ""), (1, "")), done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {(Path(row["file"]).name, row["line"]) for row in rows if row["severity"] == "error"}


def pyright() -> Found:
    done = _run("pyright", "--outputjson", "--pythonpath", sys.executable, *map(str, HERE.glob("*.py")))
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)["generalDiagnostics"]
    return {(Path(row["file"]).name, row["range"]["start"]["line"] + 1) for row in rows if row["severity"] == "error"}


def _run(*command: str) -> subprocess.CompletedProcess[str]:
    # outside of the project, whose own settings are not a user's; node comes from a wheel, and nothing is asked for online
    environment = {**os.environ, "PYRIGHT_PYTHON_GLOBAL_NODE": "0", "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1", "MYPYPATH": ""}
    return subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, env=environment, cwd=HERE)


def _cache() -> Path:
    return ROOT / ".mypy_cache" / "typed"


CHECKERS: dict[str, Callable[[], Found]] = {"mypy": functools.cache(mypy), "pyright": functools.cache(pyright)}


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_users_program_is_right(checker: str) -> None:
    assert sorted(line for name, line in CHECKERS[checker]() if name == "program.py") == []


@pytest.mark.parametrize("checker", CHECKERS)
def test_each_mistake_is_found(checker: str) -> None:
    lines = (HERE / "planted.py").read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, 1) if "# wrong:" in line}
    found = {line for name, line in CHECKERS[checker]() if name == "planted.py"}
    assert {number: lines[number - 1] for number in wrong - found} == {}
    assert {number: lines[number - 1] for number in found - wrong} == {}


def test_names_of_plugins_are_typed() -> None:
    tree = ast.parse(Path(sessile.__file__).read_text())
    typed = {
        f"{node.module.partition('.')[0]}:{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("sessile_")
        for alias in node.names
    }
    entries = [entry for entry in installed().registry.entries if entry.kind != "service"]
    targets = [entry.target for entry in entries if entry.target.startswith("sessile_")]
    assert typed == {f"{target.partition('.')[0]}:{target.partition(':')[2]}" for target in targets}
    for name in typed:
        module, _, attribute = name.partition(":")
        assert getattr(sessile, attribute) is getattr(__import__(module), attribute)


def test_every_distribution_says_that_it_is_typed() -> None:
    packages = [path.parent for pattern in ("*/src/*/__init__.py", "*/*/src/*/__init__.py") for path in ROOT.glob(pattern)]
    assert len(packages) > 10
    assert [package for package in packages if not (package / "py.typed").is_file()] == []


def test_the_options_of_a_session_are_those_of_its_constructor() -> None:
    taken = [*inspect.signature(sessile.Session).parameters]
    assert {*OpeningOptions.__annotations__} == {*taken}
    assert [name for name in taken if name in SessionOptions.__annotations__] == [*SessionOptions.__annotations__]


def test_the_keywords_of_a_list_are_the_fields_of_a_query() -> None:
    assert [*QueryFields.__annotations__] == [field.name for field in attrs.fields(Query)]


def test_the_keywords_of_an_agent_are_those_of_its_constructor() -> None:

    taken = inspect.signature(sessile.Agent).parameters
    assert {*AgentOptions.__annotations__} == {*taken} - {"name", "instructions", "knowledge", "db", "session"}


@pytest.mark.parametrize("hook", HOOKS)
def test_the_arguments_of_a_hook_say_what_they_are(hook: str) -> None:
    parameters = inspect.signature(getattr(hookspecs, hook)).parameters
    assert parameters
    assert not {name for name, each in parameters.items() if each.annotation in ("Any", each.empty)}
