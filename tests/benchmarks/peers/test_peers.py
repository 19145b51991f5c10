"""The benchmark beside other frameworks measures what it says: sessile and the floor at once, all of it with `--full`."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sessile.testing.plugin import full
from tests.benchmarks.peers import contestants, measuring
from tests.benchmarks.peers.__main__ import FRAMEWORKS, OURS, compare
from tests.benchmarks.peers.table import TITLES, duration

ROOT = Path(__file__).parent.parent.parent.parent


def rows(printed: str) -> list[list[str]]:
    """The cells of the table, without its head."""
    lines = [line for line in printed.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"RUNS": 2, "WARM": 3, "TIMES": 2}.items():
        monkeypatch.setattr(measuring, name, value)


@pytest.mark.usefixtures("quick")
def test_the_table_has_a_row_for_each_and_each_is_measured(tmp_path: Path) -> None:
    printed = compare(OURS, [50, 60], tmp_path)
    found = rows(printed)
    assert len(found) == 2 * len(OURS)
    assert [row[1] for row in found] == ["50"] * len(OURS) + ["60"] * len(OURS)
    for row, kind in zip(found, OURS * 2, strict=True):
        assert kind.title in row[0]
        assert len(row) == len(TITLES)
        assert all(re.fullmatch(r"[\d.,]+( µs| ms| s)? \([\d.,]+\)", cell) for cell in row[2:]), row
    assert printed.count("synchronous=full") == 3
    assert all(cell.endswith("(1.00)") for cell in found[0][2:])


@pytest.mark.usefixtures("quick")
def test_what_goes_no_further_has_a_row_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contestants.File, "most", 50)
    monkeypatch.setattr(contestants.File, "why", "it is only an example")
    printed = compare([contestants.Floor, contestants.File], [60], tmp_path)
    assert rows(printed)[1][1:] == ["60", "-", "-", "-", "-", "-"]
    assert "Not measured (-) beyond 50: it is only an example." in printed


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_each_returns_what_was_said(kind: type[contestants.Contestant], tmp_path: Path) -> None:
    one = kind(tmp_path)
    one.open()
    one.fill("s", measuring.messages(0, 2200))
    one.append_pair("s", measuring.message(2200)[1], measuring.message(2201)[1])
    assert one.last("s", 50) == measuring.messages(2152, 2202)
    one.close()
    one.open()
    assert one.last("s", 50) == measuring.messages(2152, 2202)
    assert one.whole("s") == measuring.messages(0, 2202)
    one.close()


@pytest.mark.usefixtures("quick")
def test_one_that_returns_something_else_is_not_measured(tmp_path: Path) -> None:
    class Forgetful(contestants.SQLite):
        def append_pair(self, session: str, question: str, answer: str) -> None:
            super().append_pair(session, question, "what?")

    with pytest.raises(AssertionError, match="returned other messages"):
        compare([Forgetful], [50], tmp_path)


def test_messages_are_about_100_characters_and_no_two_are_the_same() -> None:
    texts = {text for _, text in measuring.messages(0, 1000)}
    assert len(texts) == 1000
    assert all(100 <= len(text) <= 120 for text in texts)
    assert measuring.message(7) == measuring.message(7)


def test_durations_are_read_at_a_glance() -> None:
    assert [duration(s) for s in (42e-6, 1.5e-3, 42e-3, 420e-3, 4.2)] == ["42 µs", "1.50 ms", "42.0 ms", "420 ms", "4.20 s"]


def test_what_is_not_installed_is_named_with_the_command_that_installs_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['agents'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "tests.benchmarks.peers", "--lengths", "50"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 2
    assert "agents is not installed: run uv run --group peers python -m tests.benchmarks.peers" in done.stderr


def test_the_whole_command_in_a_fresh_environment(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    if not full(pytestconfig):
        pytest.skip("installs other frameworks: --full")
    uv = shutil.which("uv")
    assert uv is not None, "there is no uv on the PATH to make an environment with: pip install uv"
    home = pwd.getpwuid(os.getuid()).pw_dir  # where what was downloaded before lies
    environment = {**os.environ, "HOME": home, "UV_PROJECT_ENVIRONMENT": str(tmp_path / "env")}
    environment.pop("VIRTUAL_ENV", None)
    command = [uv, "run", "--group", "peers", "python", "-m", "tests.benchmarks.peers", "--lengths", "100"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    found = rows(done.stdout)
    assert len(found) == len(OURS + FRAMEWORKS)
    for row, kind in zip(found, OURS + FRAMEWORKS, strict=True):
        assert row[0].startswith(f"{kind.package}: {kind.title}" if kind.package else kind.title)
        assert "-" not in row[2:]
    assert {kind.package for kind in FRAMEWORKS} == {"openai-agents", "google-adk", "langgraph-checkpoint-sqlite"}
