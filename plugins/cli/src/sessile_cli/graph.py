"""`sessile session snapshot`, `revert`, `fork`, `merge`, …: a session explored like a history of versions."""

from __future__ import annotations

import json
import re
from typing import Any

import click

from sessile.errors import InvalidInput
from sessile_cli.options import on_session
from sessile_cli.output import LINE, content_of, message_json, one_line, print_json, progress_bar, say
from sessile_cli.sessions import existing, session

LABEL, COUNT = "label:", "count:"


def point_of(found: Any, text: str) -> str | int:
    """A point as a person writes it: a number of messages, or a snapshot's label or id; LABEL and COUNT say which.

    `InvalidInput` for a number that is also a snapshot's label.
    """
    if text.startswith(LABEL):
        return text.removeprefix(LABEL)
    number = text.removeprefix(COUNT)
    if not re.fullmatch("-?[0-9]{1,9}", number):
        return text
    if number is text and any(text in (point.id, point.label) for point in found.snapshots()):
        raise InvalidInput(f"{text!r} is a snapshot's label and a number of messages: write {LABEL}{text} or {COUNT}{text}")
    return int(number)


@session.command()
@click.option("--label", default="", help="What to call it.")
@on_session
def snapshot(session_id: str, user: str | None, store: str | None, as_json: bool, label: str) -> None:
    """Label the session as it is now."""
    made = existing(session_id, user, store).snapshot(label)
    _say(as_json, {"id": made.id, "label": made.label, "messages": made.count}, f"snapshot {made.id} at {made.count} messages")


@session.command(context_settings={"ignore_unknown_options": True})
@on_session
@click.argument("point")
def revert(session_id: str, point: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Go back to a POINT: a snapshot's label or id, or a number of messages (negative: from the end).

    label:2 is the snapshot that is called 2, count:2 the point behind two messages.
    """
    found = existing(session_id, user, store)
    _went(found, found.revert(point_of(found, point)), as_json)


@session.command()
@on_session
def undo(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Take back the last turn."""
    found = existing(session_id, user, store)
    _went(found, found.undo(), as_json)


@session.command()
@on_session
def redo(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Bring back what undo took back."""
    found = existing(session_id, user, store)
    _went(found, found.redo(), as_json)


@session.command()
@click.option("--at", metavar="POINT", help="Where: a POINT as for revert. [default: the end]")
@click.option("--as", "new_id", metavar="ID", help="The new session's id.")
@click.option("--title", default="", help="Its title.")
@on_session
def fork(
    session_id: str, user: str | None, store: str | None, as_json: bool, at: str | None, new_id: str | None, title: str
) -> None:
    """Fork a new session from a point of this one."""
    found = existing(session_id, user, store)
    made = found.fork(None if at is None else point_of(found, at), new_id, title=title)
    count = made.message_count
    _say(as_json, {"session_id": made.session_id, "messages": count}, f"forked {made.session_id} with {count} messages")


@session.command()
@click.option(
    "--policy",
    type=click.Choice(["ours", "theirs", "raise"]),
    default="ours",
    help="Which value wins if both sessions changed a state key.",
)
@click.option("--as", "new_id", metavar="ID", help="The new session's id.")
@on_session
@click.argument("other")
def merge(
    session_id: str, user: str | None, store: str | None, as_json: bool, other: str, policy: str, new_id: str | None
) -> None:
    """Merge SESSION_ID and OTHER into a new session: shared messages once, the others ordered by time."""
    ours, theirs = existing(session_id, user, store), existing(other, user, store)
    made = ours.merge(theirs, policy=policy, session_id=new_id)
    count = made.message_count
    _say(as_json, {"session_id": made.session_id, "messages": count}, f"merged into {made.session_id} with {count} messages")


@session.command(context_settings={"ignore_unknown_options": True})
@on_session
@click.argument("a")
@click.argument("b", required=False)
def diff(session_id: str, a: str, b: str | None, user: str | None, store: str | None, as_json: bool) -> None:
    """Show the differences between A and B: points (see revert) or session ids. B defaults to this session as it is now."""
    ours = existing(session_id, user, store)
    found = ours.diff(*(None if side is None else _side(ours, side, user, store) for side in (a, b)))
    if as_json:
        a_side, b_side = ([message_json(said) for said in messages] for messages in (found.a, found.b))
        print_json({"shared": found.shared, "a": a_side, "b": b_side, "state": found.state})
        return
    say(f"  {found.shared} messages in both")
    for mark, messages in (("-", found.a), ("+", found.b)):
        for said in messages:
            say(f"{mark} {said.role}: {one_line(content_of(said), LINE)}")
    for key, (before, after) in found.state.items():
        say(f"~ state {one_line(key)}: {json.dumps(before, ensure_ascii=False)} → {json.dumps(after, ensure_ascii=False)}")


def _side(ours: Any, text: str, user: str | None, store: str | None) -> Any:
    """What a person names to compare: a point of this session, or another session."""
    point = point_of(ours, text)
    if point != text or any(text in (known.id, known.label) for known in ours.snapshots()):
        return point
    return existing(text, user, store)


@session.command()
@on_session
def verify(session_id: str, user: str | None, store: str | None, as_json: bool) -> None:
    """Check that no entry is missing or was altered; status 1 where one is."""
    found = existing(session_id, user, store)
    with progress_bar(f"verifying {session_id}") as progress:
        result = found.verify(progress=progress)
    text = f"{result.entries} entries, each as it was written" if result else result.problem
    _say(as_json, {"ok": bool(result), "entries": result.entries, "problem": result.problem}, text)
    click.get_current_context().exit(0 if result else 1)


def _went(found: Any, back: Any, as_json: bool) -> None:
    count = found.message_count
    _say(
        as_json,
        {"messages": count, "back": back.id},
        f"{count} messages count now; to go back: revert {found.session_id} {back.id}",
    )


def _say(as_json: bool, data: dict[str, Any], text: str) -> None:
    print_json(data) if as_json else say(text)
