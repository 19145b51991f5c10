"""`sessile session log`, `snapshot`, `revert`, `fork`, `merge`, …: a session explored like a history of versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import click

from sessile_cli.options import json_option, print_json, progress_bar, store_option, user_option
from sessile_cli.sessions import existing, session

Command = Callable[..., None]


def _on_session(command: Command) -> Command:
    """The argument and options that all of these have."""
    for option in (json_option, store_option, user_option, click.argument("session_id")):
        command = option(command)
    return command


def _point(text: str) -> str | int:
    """A point as a person writes it: a number of messages, or a snapshot's label or id."""
    return int(text) if text.lstrip("-").isdigit() else text


@session.command(context_settings={"ignore_unknown_options": True})
@click.option("--label", default="", help="What to call it.")
@_on_session
def snapshot(session_id: str, user: str | None, store: str | None, as_json: bool, label: str) -> None:
    """Label the session as it is now."""
    made = existing(session_id, user, store).snapshot(label)
    _say(as_json, {"id": made.id, "label": made.label, "messages": made.count}, f"snapshot {made.id} at {made.count} messages")


@session.command(context_settings={"ignore_unknown_options": True})
@_on_session
@click.argument("point")
def revert(session_id: str, point: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Go back to a POINT: a snapshot's label or id, or a number of messages (negative: from the end)."""
    found = existing(session_id, user, store)
    _went(found, found.revert(_point(point)), as_json)


@session.command()
@_on_session
def undo(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Take back the last turn."""
    found = existing(session_id, user, store)
    _went(found, found.undo(), as_json)


@session.command()
@_on_session
def redo(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Bring back what undo took back."""
    found = existing(session_id, user, store)
    _went(found, found.redo(), as_json)


@session.command(context_settings={"ignore_unknown_options": True})
@click.option("--at", metavar="POINT", help="Where: a snapshot's label or id, or a number of messages. [default: the end]")
@click.option("--as", "new_id", metavar="ID", help="The new session's id.")
@click.option("--title", default="", help="Its title.")
@_on_session
def fork(
    session_id: str, user: str | None, store: str | None, as_json: bool, at: str | None, new_id: str | None, title: str
) -> None:
    """Begin another session that goes on from a point of this one."""
    made = existing(session_id, user, store).fork(None if at is None else _point(at), new_id, title=title)
    count = made.message_count
    _say(as_json, {"session_id": made.session_id, "messages": count}, f"forked {made.session_id} with {count} messages")


@session.command()
@click.option("--policy", type=click.Choice(["ours", "theirs", "raise"]), default="ours", help="For state both changed.")
@click.option("--as", "new_id", metavar="ID", help="The new session's id.")
@_on_session
@click.argument("other")
def merge(
    session_id: str, user: str | None, store: str | None, as_json: bool, other: str, policy: str, new_id: str | None
) -> None:
    """Bring SESSION_ID and OTHER together in a new session: what they share once, the rest by time."""
    ours, theirs = existing(session_id, user, store), existing(other, user, store)
    made = ours.merge(theirs, policy=policy, session_id=new_id)
    count = made.message_count
    _say(as_json, {"session_id": made.session_id, "messages": count}, f"merged into {made.session_id} with {count} messages")


@session.command(context_settings={"ignore_unknown_options": True})
@_on_session
@click.argument("a")
@click.argument("b", required=False)
def diff(session_id: str, a: str, b: str | None, user: str | None, store: str | None, as_json: bool) -> None:
    """What two points differ in; each a label, a number of messages, or another session's id (B: this one now)."""
    from sessile import SessionManager

    ours = existing(session_id, user, store)
    with SessionManager(store) as manager:
        sides = [None if s is None else existing(s, user, store) if manager.exists(s) else _point(s) for s in (a, b)]
        found = ours.diff(*sides)
    if as_json:
        print_json({"shared": found.shared, "a": found.a, "b": found.b, "state": found.state})
        return
    click.echo(f"  {found.shared} messages in both")
    for mark, messages in (("-", found.a), ("+", found.b)):
        for said in messages:
            click.echo(f"{mark} {said.role}: {_short(said.text)}")
    for key, (before, after) in found.state.items():
        click.echo(f"~ state {key}: {before!r} → {after!r}")


@session.command()
@_on_session
def verify(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Check that no entry is missing or was altered; status 1 where one is."""
    found = existing(session_id, user, store)
    with progress_bar(f"verifying {session_id}") as progress:
        result = found.verify(progress=progress)
    text = f"{result.entries} entries, each as it was written" if result else result.problem
    _say(as_json, {"ok": bool(result), "entries": result.entries, "problem": result.problem}, text)
    click.get_current_context().exit(0 if result else 1)


@session.command()
@_on_session
def tree(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """The tree of forks that a session is in."""
    top = existing(session_id, user, store).tree()
    if as_json:
        print_json(top)
    else:
        for line in _drawn(top, lambda node: [_title(node)]):
            click.echo(line)


@session.command()
@click.option("--graph", is_flag=True, help="The whole tree of forks, with what was said in each.")
@click.option("--limit", default=20, show_default=True, help="At most so many turns of each session.")
@_on_session
def log(session_id: str, user: str | None, store: str | None, as_json: bool, graph: bool, limit: int) -> None:
    """The turns of a session with their labels, oldest first."""
    found = existing(session_id, user, store)
    top = found.tree() if graph else {**found.get_context(), "children": []}

    def said_in(node: dict[str, Any]) -> list[str]:
        one = existing(node["session_id"], user, store)
        parent = one.parent if graph else None
        own = one.diff(existing(parent, user, store), one).b if parent else one.messages
        return [_title(node), *_turns(own, one.message_count - len(own), one.snapshots(), one.session_id)[-limit:]]

    if as_json:
        print_json(top)
    else:
        for line in _drawn(top, said_in):
            click.echo(line)


def _turns(messages: list[Any], before: int, snapshots: list[Any], session_id: str) -> list[str]:
    """A line for each message, and one for each label behind the message it was given at."""
    labels: dict[int, list[str]] = {}
    for found in snapshots:
        if found.session_id == session_id and found.label and not found.label.startswith("before "):
            labels.setdefault(found.count, []).append(found.label)
    lines = [f"  [{label}]" for label in labels.get(before, ()) if not before or not messages]
    for number, said in enumerate(messages, before + 1):
        lines.append(f"{'*' if said.role == 'user' else ' '} {said.role}: {_short(said.text)}")
        lines += [f"  [{label}]" for label in labels.get(number, ())]
    return lines


def _drawn(
    node: dict[str, Any], describe: Callable[[dict[str, Any]], list[str]], first: str = "", rest: str = ""
) -> Iterator[str]:
    """A tree as lines: what `describe` says of each node, its children below it."""
    head, *body = describe(node)
    yield first + head
    children = node["children"]
    for line in body:
        yield rest + ("│ " if children else "  ") + line
    for number, child in enumerate(children, 1):
        last = number == len(children)
        yield from _drawn(child, describe, rest + ("└─ " if last else "├─ "), rest + ("   " if last else "│  "))


def _title(node: dict[str, Any]) -> str:
    title = f" “{node['title']}”" if node["title"] else ""
    return f"{node['session_id']}{title} ({node['message_count']} messages)"


def _short(text: str, width: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _went(found: Any, back: Any, as_json: bool) -> None:
    count = found.message_count
    _say(
        as_json,
        {"messages": count, "back": back.id},
        f"{count} messages count now; to go back: revert {found.session_id} {back.id}",
    )


def _say(as_json: bool, data: dict[str, Any], text: str) -> None:
    print_json(data) if as_json else click.echo(text)
