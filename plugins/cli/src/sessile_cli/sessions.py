"""`sessile session …`: looking after stored sessions."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from sessile import Usage
from sessile.errors import CorruptStore, SessionNotFound
from sessile.store import STATUSES
from sessile_cli.chat import converse
from sessile_cli.files import STANDARD, read_from, written_to
from sessile_cli.options import json_option, limit_option, store_option, user_option
from sessile_cli.output import (
    TITLE,
    ago,
    content_of,
    message_json,
    moment,
    one_line,
    print_json,
    print_table,
    progress_bar,
    say,
    summary_json,
)


@click.group()
def session() -> None:
    """Manage sessions and explore their history."""


@session.command("list")
@user_option
@store_option
@click.option("--status", "status_", type=click.Choice(STATUSES), help="Only these.")
@limit_option("At most so many.", 50)
@json_option
def list_(user: str | None, store: str | None, status_: str | None, limit: int, as_json: bool) -> None:
    """List sessions, the latest change first."""
    page = manager_of(store).list(user_id=user, status=status_, limit=limit) if limit else None
    headers = page.items if page else []
    if as_json:
        print_json([summary_json(header.summary()) for header in headers])
    elif headers:
        now = time.time()
        rows = [
            [h.session_id, h.user_id, h.status, str(h.count), ago(h.updated_at, now), one_line(h.title, TITLE)] for h in headers
        ]
        print_table(["session", "user", "status", "messages", "changed", "title"], rows)
        if page and page.cursor:
            say(f"there are more than these {len(headers)}: --limit shows them", err=True)
    elif limit:
        say("no sessions")


@session.command()
@click.argument("session_id", required=False)
@user_option
@store_option
@click.option("--model", metavar="NAME", help="A model's name.")
@json_option
def start(session_id: str | None, user: str | None, store: str | None, model: str | None, as_json: bool) -> None:
    """Begin a new session and talk; with --json only create it. Fails where the id is taken."""
    from sessile import SessionManager

    with SessionManager(store) as manager, manager.create_session(user or "default_user", session_id=session_id) as created:
        if as_json:
            print_json(created.get_context())
            return
    converse(created.session_id, user=user, store=store, model=model)


@session.command()
@click.argument("session_id")
@user_option
@store_option
@click.option("--model", metavar="NAME", help="A model's name.")
@json_option
def resume(session_id: str, user: str | None, store: str | None, model: str | None, as_json: bool) -> None:
    """Continue a stored session. Fails if there is none."""
    existing(session_id, user, store)
    converse(session_id, user=user, store=store, model=model, as_json=as_json)


@session.command()
@click.argument("session_id")
@user_option
@store_option
@limit_option("Only the last so many messages.")
@json_option
def show(session_id: str, user: str | None, store: str | None, limit: int | None, as_json: bool) -> None:
    """Show what is known of a session, and its messages."""
    found = existing(session_id, user, store)
    context, history = found.get_context(), found.get_history(limit)
    usage = Usage.of(history) if limit is not None else found.usage()  # what is shown is all that is read
    if as_json:
        print_json({**context, "usage": usage.to_dict(), "messages": [message_json(said) for said in history]})
        return
    for name in ("session_id", "user_id", "title", "status", "created_at", "updated_at", "message_count"):
        say(f"{name + ':':15}{one_line(str(context[name]))}")
    if usage.replies > usage.unreported:
        say(f"{'tokens:':15}{_tokens(usage)}")
    for said in history:
        marks = " [open]" if said.open else " [interrupted]" if said.metadata.get("interrupted") else ""
        text = content_of(said).replace("\n", "\n  ")  # indented, so that no text looks like another message
        say(f"\n{said.role}{marks}\n  {text}")


def _tokens(usage: Usage) -> str:
    """What the replies took, on one line: "1,204 in (800 cached), 93 out; 1 of 7 replies did not say"."""
    cached = f" ({usage.cached_tokens:,} cached)" if usage.cached_tokens else ""
    reasoning = f" ({usage.reasoning_tokens:,} for reasoning)" if usage.reasoning_tokens else ""
    missing = f"; {usage.unreported:,} of {usage.replies:,} replies did not say" if usage.unreported else ""
    return f"{usage.input_tokens:,} in{cached}, {usage.output_tokens:,} out{reasoning}{missing}"


@session.command()
@click.argument("session_id")
@user_option
@store_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--cascade", is_flag=True, help="Delete its forks as well.")
@json_option
def delete(session_id: str, user: str | None, store: str | None, yes: bool, cascade: bool, as_json: bool) -> None:
    """Delete a session for good, a broken one too. Asks first."""
    found = None
    with suppress(CorruptStore):
        found = existing(session_id, user, store)
    what = f"with {found.message_count} messages" if found else "which is broken"
    if not yes:
        click.confirm(f"Delete session {session_id!r} {what}?", abort=True, err=True)
    if not _deleted(found, cascade) if found else not manager_of(store).delete(session_id, user, cascade=cascade):
        raise SessionNotFound(f"session {session_id!r} is not there any more: nothing was deleted")
    print_json({"deleted": session_id}) if as_json else say(f"deleted {session_id}")


def _deleted(found: Any, cascade: bool) -> bool:
    """Delete the very session that was shown; False where it is gone, whatever has its id by now."""
    try:
        found.delete(cascade=cascade)
    except SessionNotFound:
        return False
    return True


@session.command("export")
@click.argument("session_id")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@user_option
@store_option
@click.option(
    "--lineage", type=click.Choice(["kept", "resolved"]), default="kept", show_default=True,
    help="Every entry with snapshots, forks and hashes; or just what counts now.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace a file that is there.")
@json_option
def export(session_id: str, file: str, user: str | None, store: str | None, lineage: str, force: bool, as_json: bool) -> None:
    """Write a session to a file of its own (JSON Lines); "-" is standard output."""
    found = existing(session_id, user, store)
    with written_to(file, force=force) as path, progress_bar(f"exporting {session_id}") as progress:
        found.export(path, lineage=lineage, progress=progress)
    count = found.message_count
    if as_json and file != STANDARD:
        print_json({"session_id": session_id, "file": file, "messages": count})
    else:
        say(f"exported {session_id} with {count} messages to {file}", err=file == STANDARD)


@session.command("import")
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--session", "session_id", metavar="ID", help="Another id for it.")
@user_option
@store_option
@json_option
def import_(file: str, session_id: str | None, user: str | None, store: str | None, as_json: bool) -> None:
    """Read a session from a file that export wrote; "-" is standard input. Fails where its id is taken."""
    with read_from(file) as path, progress_bar(f"importing {Path(file).name}") as progress:
        loaded = manager_of(store).import_session(path, session_id, user_id=user, progress=progress)
    session_id, count = loaded.session_id, loaded.message_count
    print_json({"session_id": session_id, "messages": count}) if as_json else say(f"imported {session_id} with {count} messages")


def manager_of(store: str | None) -> Any:
    """The manager of a store, open until the command ends."""
    from sessile import SessionManager

    return click.get_current_context().with_resource(SessionManager(store))


def existing(session_id: str, user: str | None, store: str | None) -> Any:
    """A stored session, open until the command ends; `SessionNotFound` where there is none, which is not made then."""
    found = manager_of(store).get_session(session_id, user)
    if found is None:
        raise SessionNotFound(f"there is no session {session_id!r} in this store: `sessile session list` lists the stored ones")
    return click.get_current_context().with_resource(found)


def _time(seconds: float) -> str:
    return moment(seconds).strftime("%Y-%m-%d %H:%M:%S")
