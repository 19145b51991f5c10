"""The plugin template, installed as a user would into an environment of its own: its tests pass there as well."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEMPLATE = ROOT / "contrib" / "plugin-template"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the core, the template and pytest."""
    place = tmp_path_factory.mktemp("template")
    uv = shutil.which("uv")
    assert uv is not None, "there is no uv on the PATH to make an environment with: pip install uv"
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, place / "env"], check=True)
    python = place / "env" / "bin" / "python"
    install = [uv, "pip", "install", "-q", "--python", python, ROOT / "core", TEMPLATE, "pytest"]
    for more in (["--offline"], []):  # nearly always all that is needed lies in uv's cache
        done = subprocess.run([*install, *more], capture_output=True, text=True, check=False)
        if not done.returncode:
            return python
    raise AssertionError(done.stderr)


def test_its_tests_pass_where_it_is_installed(environment: Path, tmp_path: Path) -> None:
    listed = "from sessile.plugins import installed; print([(i.name, i.status) for i in installed().infos()])"
    done = subprocess.run([environment, "-c", listed], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == "[('builtin', 'active'), ('shout', 'active')]\n"
    command = [environment, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, TEMPLATE / "tests"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "conformance of TestShout" in done.stdout, done.stdout + done.stderr
    assert done.returncode == 0, done.stdout + done.stderr
