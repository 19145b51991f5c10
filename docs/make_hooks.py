"""Writes docs/hooks.md from hookspecs.py: `uv run python docs/make_hooks.py`. A test fails when it was not done."""

from __future__ import annotations

import inspect
from pathlib import Path

from sessile.plugins import hookspecs

PAGE = Path(__file__).parent / "hooks.md"


def page() -> str:
    """The hook reference."""
    title, _, rest = inspect.getdoc(hookspecs).partition("\n\n")  # type: ignore[union-attr]
    about = title.removeprefix("The hooks: ")
    parts = ["# The hooks\n", about[0].upper() + about[1:] + "\n", rest + "\n"]
    for name in hookspecs.HOOKS:
        function = getattr(hookspecs, name)
        arguments = ", ".join(inspect.signature(function).parameters)
        first = " The first result ends the call." if function.sessile_spec["firstresult"] else ""
        parts.append(f"## {name}({arguments})\n\n{inspect.getdoc(function)}{first}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
