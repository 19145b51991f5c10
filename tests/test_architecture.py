"""The three arrows (plugins use public names, the core no plugin, no plugin another), and what an import costs nobody."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "src" / "sessile"
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if path.is_dir())
HEAVY = (
    "sqlite3",
    "sqlite_utils",
    "openai",
    "httpx",
    "xllamacpp",
    "rich",
    "hypothesis",
    "pytest",
    "asyncio",
    "concurrent",
)


def imports(file: Path) -> Iterator[tuple[str, list[str]]]:
    """(module, names) of every import in a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports out"
            yield node.module or "", [alias.name for alias in node.names]


def test_the_core_imports_no_plugin_and_only_its_three_libraries() -> None:
    allowed = {"sessile", "pluggy", "attrs", "cattrs", *sys.stdlib_module_names}
    for file in CORE.rglob("*.py"):
        found = {module.partition(".")[0] for module, _ in imports(file)}
        extra = {"pytest", "hypothesis"} if "testing" in file.parts else set()
        assert found <= allowed | extra, (file, found - allowed)


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_imports_public_names_and_no_other_plugin(plugin: Path) -> None:
    for file in (plugin / "src").rglob("*.py"):
        for module, names in imports(file):
            assert not module.startswith("sessile_") or module.split(".")[0] == f"sessile_{plugin.name}", (file, module)
            if module.split(".")[0] == "sessile":
                assert not any(part.startswith("_") for part in [*module.split("."), *names]), (file, module, names)


@pytest.mark.parametrize(
    "statement",
    [
        "import sessile",
        "import sessile; sessile.hookimpl",
        "import sys; sys.argv = ['sessile', '--help']; from sessile_cli.main import main; main()",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_used(statement: str) -> None:
    heavy = [name for name in HEAVY if name not in ("asyncio", "concurrent") or "--help" not in statement]
    program = f"{statement}\nimport sys\nprint([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_discovering_plugins_imports_none_of_their_libraries() -> None:
    program = f"from sessile.plugins import installed; installed(); import sys; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_pytest_needs_no_hypothesis_where_nobody_tests_a_store(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text(
        "import sys\n\n\ndef test_nothing():\n    assert 'sessile.testing.plugin' in sys.modules\n"
        "    assert 'sessile.testing.conformance' not in sys.modules\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:hypothesispytest", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "1 passed" in done.stdout, done.stdout


def test_modules_stay_small() -> None:
    for file in [*CORE.rglob("*.py"), *(ROOT / "plugins").rglob("src/**/*.py")]:
        assert len(file.read_text().splitlines()) <= 350, file
