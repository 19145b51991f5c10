"""`sessile memory`: what is remembered of a user, in all their conversations in a store and by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import sessile  # whose names, and this plugin's, are imported when a command runs: `sessile --help` is quick
from sessile_memory.items import CONVERSATIONS, EMBEDDER, KINDS, Item

if TYPE_CHECKING:
    from sessile_memory.service import SessionMemory


def _whose(command: Callable[..., Any]) -> Callable[..., Any]:
    command = click.option("--user", default="default_user", show_default=True, help="Whose memory it is.")(command)
    command = click.option("--app", default="", help="In which application.")(command)
    command = click.option("--store", envvar="SESSILE_STORE", help="The store with the user's conversations.")(command)
    return click.option("--json", "as_json", is_flag=True, help="For programs.")(command)


@contextmanager
def _opened(user: str, store: str | None, app: str) -> Iterator[SessionMemory]:
    """What a new conversation of the user would recall; nothing is stored by that."""
    with sessile.Session(user_id=user, app=app or None, store=store, memory={"auto_memory": True}) as session:
        yield session.memory


@click.group()
def memory() -> None:
    """What is remembered of a user."""


@memory.command("list")
@_whose
@click.option("--kind", type=click.Choice([*KINDS, "message"]), help="Only those of a kind.")
def list_items(user: str, store: str | None, app: str, as_json: bool, kind: str | None) -> None:
    """All that is remembered, the oldest first."""
    with _opened(user, store, app) as found:
        _show(found.all(kind=kind), as_json)


@memory.command()
@click.argument("text", nargs=-1, required=True)
@_whose
@click.option("--limit", type=click.IntRange(1), default=10, show_default=True, help="At most so many.")
def search(text: tuple[str, ...], user: str, store: str | None, app: str, as_json: bool, limit: int) -> None:
    """What has to do with a text, the best first."""
    with _opened(user, store, app) as found:
        _show(found.search(" ".join(text), limit), as_json)


@memory.command()
@click.argument("text", nargs=-1, required=True)
@click.option("--user", default="default_user", show_default=True, help="Whose memory it is.")
@click.option("--app", default="", help="In which application.")
@click.option("--kind", type=click.Choice(KINDS), default="user", show_default=True)
def add(text: tuple[str, ...], user: str, app: str, kind: str) -> None:
    """Remember a text of a user, for all their conversations."""
    with sessile.Memory(user_id=user, app=app) as mine:
        item = mine.add(" ".join(text), kind=kind)
    if item is not None:
        click.echo(item.id)


@memory.command()
@click.option("--user", required=True, help="Whose memory it is.")
@click.option("--app", default="", help="In which application.")
@click.confirmation_option(prompt="Forget all that was added by hand?")
def forget(user: str, app: str) -> None:
    """Erase what was added by hand. What was said stays in the conversations."""
    with sessile.Memory(user_id=user, app=app) as mine:
        click.echo(f"forgotten: {mine.forget()}")


@memory.command()
@_whose
def stats(user: str, store: str | None, app: str, as_json: bool) -> None:
    """How much is remembered, by which embedder, and what that has not seen yet."""
    with _opened(user, store, app) as found:
        about = found.stats()
    if as_json:
        click.echo(json.dumps(about))
        return
    for kind, count in about["items"].items():
        click.echo(f"{kind}: {count}")
    click.echo(f"embedder: {about['embedder'] or 'none: found by words only'}, not embedded yet: {about['not_embedded']}")


@memory.command("eval")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--embedder", default=EMBEDDER, show_default=True, help='A registered embedder, or "none".')
@click.option(
    "--conversation", "numbers", type=int, multiple=True, help="Only these; by default " + ", ".join(map(str, CONVERSATIONS))
)
def evaluate(path: Path, embedder: str, numbers: tuple[int, ...]) -> None:
    """Measure the recall of evidence on LoCoMo, whose data/locomo10.zip is at PATH."""
    from sessile_memory.evaluation import answered, conversations, report

    chosen = numbers or CONVERSATIONS
    results = [
        each
        for number, conversation in conversations(path, chosen)
        for each in answered(number, conversation, None if embedder == "none" else embedder)
    ]
    click.echo(
        f"LoCoMo, conversations {', '.join(map(str, chosen))}, questions of categories 1 to 4 with evidence, "
        f"embedder {embedder}: mean share of the evidence turns among the first k, and how often all are among 10; 95 % interval "
        "over conversations"
    )
    for row in [["questions", "n", "@5", "@10", "@20", "all@10", "@10, 95 %"], *report(results)]:
        click.echo("".join(cell.ljust(13) for cell in row).rstrip())


def _show(items: list[Item], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps([{"id": item.id, "text": item.text, "kind": item.kind, "score": item.score} for item in items]))
        return
    for item in items:
        text = " ".join(item.text.split())
        click.echo(f"{item.id}  {item.kind:10}  {''.join(letter if letter.isprintable() else '?' for letter in text)}")
    if not items:
        click.echo("nothing is remembered that fits")
