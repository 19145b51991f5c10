"""What `test_architecture.py` asks of the core's files and of what plugins import: each function returns the complaints."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

# A file imports from its own layer and from those on its left.
LAYERS = "errors drive log conversation plugins store engine graph transfer session testing".split()
PUBLIC = ("sessile", "sessile.errors", "sessile.store", "sessile.models", "sessile.plugins", "sessile.testing")
SEEDS = ("sessile.session", "sessile.session.hierarchy", "sessile.sessions")  # import paths of the documents we are specified by
LIBRARIES = ("sessile_search", "sessile_retrieval")  # that plugins share, and that register nothing
MOST = 9  # modules in a package below the top

# The imports within functions, and what each is for.
LAZY = {
    ("sessile", "sessile.plugins.discovery"): "importing sessile costs nothing",
    ("sessile.sessions", "sessile"): "importing sessile costs nothing",
    ("sessile.drive.faces", "sessile.drive.inside"): "a blocking program needs no asyncio",
    ("sessile.session.agents.agent", "sessile.drive.inside"): "a blocking program needs no asyncio",
    ("sessile.session.live.streaming", "sessile.drive.inside"): "a blocking program needs no asyncio",
    ("sessile.drive.faces", "sessile.drive.threads"): "a blocking program needs no asyncio",
    ("sessile.session.base", "sessile.session.live.behind"): "most sessions spawn nothing",
    ("sessile.session.agents.base", "sessile.session"): "an agent opens a session of its own",
    ("sessile.testing.plugin", "sessile.session"): "pytest loads the plugin in every run",
    ("sessile.testing.limits", "sessile.store.waist"): "pytest loads the plugin in every run",
}

# The imports that look up, or around a circle: for type checkers only.
TYPES = {
    ("sessile.plugins.hookspecs", "sessile.session"): "what hooks are given",
    ("sessile.session.agents.agent", "sessile.session"): "what an agent speaks in",
}


class Import(NamedTuple):
    """module: what is imported, a module of the core. lazy: is that within a function?"""

    module: str
    lazy: bool


def modules(core: Path) -> dict[str, Path]:
    """The files of a core by their modules' names. core: the folder of the package."""
    found = {}
    for file in core.rglob("*.py"):
        parts = file.relative_to(core.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def imports(file: Path) -> Iterator[tuple[str, list[str], bool]]:
    """(module, names, within a function) of every import in a file, those for types only too."""
    for node, lazy in _nodes(ast.parse(file.read_text()), False):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, [], lazy
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: write imports out"
            yield node.module or "", [alias.name for alias in node.names], lazy


def _nodes(node: ast.AST, lazy: bool) -> Iterator[tuple[ast.AST, bool]]:
    for child in ast.iter_child_nodes(node):
        yield child, lazy
        yield from _nodes(child, lazy or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)))


def graph(core: Path) -> dict[str, set[Import]]:
    """What each module of a core imports of it."""
    known = modules(core)
    found: dict[str, set[Import]] = {}
    for module, file in known.items():
        edges = found.setdefault(module, set())
        for target, names, lazy in imports(file):
            for name in names or [""]:
                whole = f"{target}.{name}" if f"{target}.{name}" in known else target
                if whole in known and whole != module:
                    edges.add(Import(whole, lazy))
    return found


def upward(core: Path) -> list[str]:
    """Imports from a layer above."""
    return [
        f"{module} imports {found.module}, which is above it"
        for module, edges in graph(core).items()
        for found in edges
        if _layer(found.module) > _layer(module) and (module, found.module) not in TYPES
    ]


def _layer(module: str) -> int:
    folder = module.split(".")[1] if "." in module else ""
    return LAYERS.index(folder) if folder in LAYERS else len(LAYERS)  # the top: what users import


def circles(core: Path) -> list[str]:
    """A circle of files, if there is one."""
    edges: Mapping[str, set[str]] = {
        module: {found.module for found in targets if (module, found.module) not in {**LAZY, **TYPES}}
        for module, targets in graph(core).items()
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return [" imports ".join(reversed(error.args[1]))]
    return []


def lazy(core: Path) -> list[str]:
    """Imports within functions that are not in `LAZY`, and what is there without need."""
    there = {(module, found.module) for module, edges in graph(core).items() for found in edges if found.lazy}
    return [f"{module} imports {target} in a function" for module, target in there - LAZY.keys()] + [
        f"{module} does not import {target} in a function" for module, target in LAZY.keys() - there
    ]


def crowded(core: Path) -> list[str]:
    """Packages below the top with more than `MOST` modules."""
    count = Counter(file.parent for name, file in modules(core).items() if file.stem != "__init__" and file.parent != core)
    return [f"{folder.relative_to(core)} has {number} modules" for folder, number in count.items() if number > MOST]


def private(source: Path, own: str | None) -> list[str]:
    """What is not public, of all that the files of a folder use of sessile's.

    own: the plugin's package that they are of; None: they are a page's, and may use any plugin.
    """
    return [complaint for file in sorted(source.rglob("*.py")) for complaint in _private_in(file, own)]


def _private_in(file: Path, own: str | None) -> Iterator[str]:
    for module, names, _ in imports(file):
        package = module.split(".")[0]
        if package.startswith("sessile_") and own not in (None, package) and package not in LIBRARIES:
            yield f"{file.name}: {module} is another plugin's"
        elif package == "sessile":
            yield from (f"{file.name}: {module}.{name} is private" for name in names or [""] if not is_public(module, name))
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__"):
            owner = node.value
            if not (isinstance(owner, ast.Name) and (owner.id in ("self", "cls") or owner.id[0].isupper())):
                yield f"{file.name}: {ast.unparse(node)} is somebody else's"


def is_public(module: str, name: str) -> bool:
    """Is this promised? A module by itself ("") is where it is a public import path."""
    return module in PUBLIC + SEEDS and (not name or name in import_module(module).__all__ or _of_a_plugin(module, name))


def _of_a_plugin(module: str, name: str) -> bool:
    """`from sessile import SQLiteSessionStore`: a class that a plugin registers."""
    return module == "sessile" and name[0].isupper() and hasattr(import_module(module), name)
