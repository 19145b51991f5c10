"""`sessile install` and `uninstall`: plugins are ordinary packages; these put them beside the running sessile."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import click


@click.command()
@click.argument("packages", nargs=-1, required=True)
@click.option("--upgrade", "-U", is_flag=True, help="To the newest version.")
def install(packages: tuple[str, ...], upgrade: bool) -> None:
    """Install plugins into this environment: `sessile install sessile-redis`."""
    _run([*_installer(), "install", *(["--upgrade"] if upgrade else []), *packages])


@click.command()
@click.argument("packages", nargs=-1, required=True)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def uninstall(packages: tuple[str, ...], yes: bool) -> None:
    """Remove plugins from this environment."""
    if not yes:
        click.confirm(f"Uninstall {', '.join(packages)}?", abort=True)
    installer = _installer()
    _run([*installer, "uninstall", *(["-y"] if "-m" in installer else []), *packages])


def _installer() -> list[str]:
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "pip"]
    raise click.ClickException("neither pip nor uv is installed: install pip with `python -m ensurepip`")


def _run(command: list[str]) -> None:
    environment = ["--python", sys.executable] if "-m" not in command else []
    done = subprocess.run([*command, *environment], check=False)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)} failed with status {done.returncode}")
