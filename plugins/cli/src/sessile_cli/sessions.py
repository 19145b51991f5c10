"""`sessile session …`: looking after stored sessions."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import click

from sessile_cli.chat import converse
from sessile_cli.options import json_option, print_json, print_table, progress_bar, store_option, user_option


@click.group()
def session() -> None:
    """Look after sessions, and explore them like a history of versions."""


@session.command("list")
@user_option
@store_option
@click.option("--status", "status_", metavar="STATUS", help="Only created, active, saved or archived ones.")
@click.option("--limit", default=50, show_default=True, help="At most so many.")
@json_option
def list_(user: str | None, store: str | None, status_: str | None, limit: int, as_json: bool) -> None:
    """List sessions, the latest change first."""
    from sessile import SessionManager

    with SessionManager(store) as manager:
        headers = manager.list(user_id=user, status=status_, limit=limit).items
    if as_json:
        print_json([header.summary() for header in headers])
    elif headers:
        rows = [[h.session_id, h.user_id, h.status, str(h.count), _time(h.updated_at), h.title] for h in headers]
        print_table(["session", "user", "status", "messages", "changed (UTC)", "title"], rows)
    else:
        click.echo("no sessions")


@session.command()
@click.argument("session_id", required=False)
@user_option
@store_option
@click.option("--model", metavar="NAME", help="A model's name.")
@json_option
def start(session_id: str | None, user: str | None, store: str | None, model: str | None, as_json: bool) -> None:
    """Begin a new session and talk; with --json only create it. Fails where the id is taken."""
    from sessile import SessionManager

    with SessionManager(store) as manager:
        created = manager.create_session(user or "default_user", session_id)
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
    """Go on with a stored session. Fails where there is none."""
    existing(session_id, user, store)
    converse(session_id, user=user, store=store, model=model, as_json=as_json)


@session.command()
@click.argument("session_id")
@user_option
@store_option
@click.option("--limit", type=int, help="Only the last so many messages.")
@json_option
def show(session_id: str, user: str | None, store: str | None, limit: int | None, as_json: bool) -> None:
    """Show what is known of a session, and its messages."""
    found = existing(session_id, user, store)
    context, history = found.get_context(), found.get_history(limit)
    if as_json:
        print_json({**context, "messages": history})
        return
    for name in ("session_id", "user_id", "title", "status", "created_at", "updated_at", "message_count"):
        click.echo(f"{name + ':':15}{context[name]}")
    for said in history:
        marks = " [open]" if said.open else " [interrupted]" if said.metadata.get("interrupted") else ""
        click.echo(f"\n{said.role}{marks}\n  {said.text or said.tool_calls}")


@session.command()
@click.argument("session_id")
@user_option
@store_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--cascade", is_flag=True, help="Delete its forks as well.")
@json_option
def delete(session_id: str, user: str | None, store: str | None, yes: bool, cascade: bool, as_json: bool) -> None:
    """Delete a session for good."""
    from sessile import SessionManager

    found = existing(session_id, user, store)
    if not (yes or as_json):
        click.confirm(f"Delete session {session_id!r} with {found.message_count} messages?", abort=True)
    with SessionManager(store) as manager:
        manager.delete(session_id, user, cascade=cascade)
    print_json({"deleted": session_id}) if as_json else click.echo(f"deleted {session_id}")


@session.command("export")
@click.argument("session_id")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@user_option
@store_option
@click.option(
    "--lineage", type=click.Choice(["kept", "resolved"]), default="kept", show_default=True,
    help="Every entry with snapshots, forks and hashes; or just what counts now.",
)  # fmt: skip
@json_option
def export(session_id: str, file: Path, user: str | None, store: str | None, lineage: str, as_json: bool) -> None:
    """Write a session to a file of its own (JSON Lines)."""
    found = existing(session_id, user, store)
    with progress_bar(f"exporting {session_id}") as progress:
        found.export(file, lineage=lineage, progress=progress)
    count = found.message_count
    print_json({"session_id": session_id, "file": str(file), "messages": count}) if as_json else click.echo(
        f"exported {session_id} with {count} messages to {file}"
    )


@session.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--session", "session_id", metavar="ID", help="Another id for it.")
@user_option
@store_option
@json_option
def import_(file: Path, session_id: str | None, user: str | None, store: str | None, as_json: bool) -> None:
    """Read a session from a file that export wrote. Fails where its id is taken."""
    from sessile import SessionManager

    with SessionManager(store) as manager, progress_bar(f"importing {file.name}") as progress:
        loaded = manager.import_session(file, session_id, user_id=user, progress=progress)
        session_id, count = loaded.session_id, loaded.message_count
    print_json({"session_id": session_id, "messages": count}) if as_json else click.echo(
        f"imported {session_id} with {count} messages"
    )


def existing(session_id: str, user: str | None, store: str | None) -> Any:
    """Open a stored session; `SessionNotFound` where there is none, which is not made then."""
    from sessile import Session, SessionManager
    from sessile.errors import SessionNotFound

    with SessionManager(store) as manager:
        if not manager.exists(session_id):
            raise SessionNotFound(f"there is no session {session_id!r} here: `sessile session list` shows those there are")
        return Session(session_id, user_id=user, store=store)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
