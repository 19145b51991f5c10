"""`sessile copy` and `sessile migrate`: whole stores."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import attrs
import click

from sessile.errors import SessionNotFound
from sessile_cli.options import json_option, user_option
from sessile_cli.output import print_json, progress_bar, say


@click.command()
@click.argument("source", metavar="FROM_URL")
@click.argument("target", metavar="TO_URL")
@user_option
@click.option("--since", type=click.DateTime(), help="Only sessions changed since then (UTC).")
@click.option("--verify", is_flag=True, help="Read every session in the target and compare it.")
@json_option
def copy(source: str, target: str, user: str | None, since: datetime | None, verify: bool, as_json: bool) -> None:
    """Copy sessions from a store into another, with lineage, snapshots and hashes.

    Interrupted, it goes on when it is run again; later, it brings what was said since. A session that was changed in the
    target is left as it is, and told; the status is 1 then.
    """
    from sessile import copy_store

    _check_there(source)
    after = None if since is None else since.replace(tzinfo=UTC).timestamp()
    with progress_bar("copying") as progress:
        report = copy_store(source, target, user_id=user, since=after, verify=verify, progress=progress)
    if as_json:
        print_json(attrs.asdict(report))
    else:
        for problem in report.problems:
            say(f"not copied: {problem}", err=True)
        verified = ", verified" if verify and not report.problems else ""
        say(f"copied {report.sessions} sessions with {report.entries} entries; {report.same} were there already{verified}")
    click.get_current_context().exit(1 if report.problems else 0)


def _check_there(url: str) -> None:
    """Refuse a store on disk that does not exist. Copying it would copy nothing and still look like a success."""
    from sessile.store import find_store

    store, release = find_store(url)  # nothing is made before the first commit
    path = getattr(store, "path", None)
    release()
    if isinstance(path, Path) and not path.exists():
        raise SessionNotFound(f"there is no store at {str(path)!r} to copy from: nothing was copied")


@click.command()
@click.argument("url")
@json_option
def migrate(url: str, as_json: bool) -> None:
    """Bring a store's schema up to date. The first commit does it, too; this is for who wants to know when."""
    from sessile.store import Capabilities, open_store, shown

    store = open_store(url)
    try:
        bring_up_to_date = Capabilities.of(store).migrate
        old, new = bring_up_to_date() if bring_up_to_date else (0, 0)
    finally:
        store.close()
    if as_json:
        print_json({"from": old, "to": new})
    elif not new:
        say(f"{shown(url)} has no schema to migrate")
    else:
        say(f"{shown(url)} is at schema {new}" + (f", from {old}" if old != new else " already"))
