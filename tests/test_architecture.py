"""The layers of the core, the three arrows (plugins use public names, the core no plugin, no plugin another), and what an import
costs nobody."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import architecture

ROOT = Path(__file__).parent.parent
CORE = ROOT / "core" / "src" / "sessile"
PLUGINS = sorted(path for folder in ("plugins", "contrib") for path in (ROOT / folder).iterdir() if path.is_dir())
RULES = (architecture.upward, architecture.circles, architecture.lazy, architecture.crowded)
TYPE_ONLY = "if TYPE_CHECKING:\n    from sessile.session.agents.agent import Agent"
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


OF_OURS = {
    f"sessile_{name}"
    for name in ("file", "memory", "minilm", "mongodb", "openai", "postgres", "quality", "redis", "smollm", "sqlite", "wordllama")
}
TYPED = {  # for type checkers only: importing sessile imports none of them, as another test sees
    "__init__.py": OF_OURS,
    "sessions.py": OF_OURS,
    "conversation/turn.py": {"typing_extensions"},
    "plugins/hookspecs.py": {"click"},
}


def test_the_core_imports_no_plugin_and_only_its_three_libraries() -> None:
    allowed = {"sessile", "pluggy", "attrs", "cattrs", *sys.stdlib_module_names}
    for file in CORE.rglob("*.py"):
        found = {module.partition(".")[0] for module, _, _ in architecture.imports(file)}
        extra = {"pytest", "hypothesis"} if "testing" in file.parts else set()
        extra |= TYPED.get(file.relative_to(CORE).as_posix(), set())
        assert found <= allowed | extra, (file, found - allowed)


@pytest.mark.parametrize("rule", RULES)
def test_the_core_has_layers(rule: Callable[[Path], list[str]]) -> None:
    assert rule(CORE) == []


@pytest.mark.parametrize(
    ("rule", "file", "text", "complaint"),
    [
        (architecture.upward, "log/ids.py", "import sessile.engine.turns", "sessile.log.ids imports sessile.engine.turns"),
        (architecture.upward, "engine/state.py", TYPE_ONLY, "sessile.engine.state imports sessile.session.agents.agent"),
        (architecture.circles, "log/encoding.py", "from sessile.log.header import Header", "sessile.log.encoding"),
        (architecture.circles, "graph/points.py", "def f():\n    from sessile.graph import merging", "sessile.graph.points"),
        (
            architecture.lazy,
            "graph/merging.py",
            "def f():\n    from sessile.log import ids",
            "imports sessile.log.ids in a function",
        ),
        (architecture.lazy, "drive/faces.py", None, "does not import sessile.drive.threads in a function"),
        (architecture.crowded, "drive/tenth.py", "", "drive has 10 modules"),
    ],
)
def test_the_rules_find_what_is_planted(
    tmp_path: Path, rule: Callable[[Path], list[str]], file: str, text: str | None, complaint: str
) -> None:
    core = Path(shutil.copytree(CORE, tmp_path / "sessile", ignore=shutil.ignore_patterns("__pycache__")))
    planted = core / file
    before = planted.read_text() if planted.exists() and text is not None else ""
    planted.write_text(f"{before}\n{text or ''}\n")
    assert complaint in "\n".join(rule(core))


def test_the_way_of_a_message_goes_down_the_layers() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    picture = re.findall(r"^   sessile/(\w+)", text, re.MULTILINE)
    assert picture == architecture.LAYERS[::-1]
    files = re.findall(r"^\| \d+ \| `([\w/]+\.py)`", text, re.MULTILINE)
    assert len(files) >= 8
    assert all((CORE / file).exists() for file in files)
    way = [architecture.LAYERS.index(file.split("/")[0]) for file in files]
    assert way == sorted(way, reverse=True)


@pytest.mark.parametrize("source", PLUGINS, ids=lambda path: path.name)
def test_a_plugin_uses_public_names_only(source: Path) -> None:
    own = "sessile_shout" if source.name == "plugin-template" else f"sessile_{source.name.replace('-', '_')}"
    assert architecture.private(source / "src", own) == []


@pytest.mark.parametrize(
    "text",
    [
        "from sessile.engine.handle import Handle",
        "import sessile.engine",
        "from sessile.store import waist",
        "from sessile.store import nothing",
        "from sessile import _HOMES",
        "def f():\n    from sessile_sqlite import rows",
        "def f(session):\n    return session._handle",
        "def f(session):\n    session.manager()._commits.face = None",
    ],
)
def test_a_private_name_in_a_plugin_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "plugin.py").write_text(
        "from sessile import Session, SQLiteSessionStore, hookimpl\nfrom sessile.store import Page\n"
    )
    assert architecture.private(tmp_path, "sessile_mine") == []
    (tmp_path / "planted.py").write_text(text)
    assert len(architecture.private(tmp_path, "sessile_mine")) == 1


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


def test_libraries_register_nothing() -> None:
    for name in architecture.LIBRARIES:
        project = tomllib.loads((ROOT / "plugins" / name.removeprefix("sessile_") / "pyproject.toml").read_text())["project"]
        assert "entry-points" not in project


def test_modules_stay_small() -> None:
    for file in [*CORE.rglob("*.py"), *(ROOT / "plugins").rglob("src/**/*.py")]:
        assert len(file.read_text().splitlines()) <= 350, file
