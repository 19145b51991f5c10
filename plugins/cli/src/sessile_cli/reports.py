"""`sessile plugins` and `sessile doctor`: what is installed, what works, and what to do."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import attrs
import click

from sessile.errors import CorruptStore, SessileError, SessionNotFound
from sessile_cli.failures import text_of
from sessile_cli.options import json_option, store_option
from sessile_cli.output import print_json, print_table, progress_bar, status


@click.command()
@json_option
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List the plugins that were found: active, blocked or broken."""
    infos = ctx.find_root().command.plugins.infos()
    if as_json:
        print_json([attrs.asdict(info) for info in infos])
        return
    rows = [[i.name, i.version, i.distribution, i.status, " ".join(i.hooks), " ".join(i.registers) or i.error] for i in infos]
    print_table(["name", "version", "distribution", "status", "hooks", "registers"], rows)


@click.command()
@click.argument("url", required=False)
@store_option
@click.option("--repair", is_flag=True, help="Make the store's indexes again; clear away what was cut short an hour ago.")
@click.option("--verify", is_flag=True, help="Read every session, and name the first entry of each that was altered.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, url: str | None, store: str | None, repair: bool, verify: bool, as_json: bool) -> None:
    """Check the installation, the store (URL) and the model, and say how to fix problems."""
    root = ctx.find_root().command
    with status("checking"):
        checks = [_check("python", platform.python_version), *_plugin_checks(root.plugins)]
        checks += _store_checks(url or store, repair)
        checks.append(_check("model", lambda: _model(root.plugins)))
    if verify:
        checks.append(_check("sessions", lambda: _verified(url or store)))
    if as_json:
        print_json(checks)
    else:
        print_table(["", "check", "result"], [["ok" if c["ok"] else "FAILED", c["name"], c["result"]] for c in checks])
    ctx.exit(0 if all(check["ok"] for check in checks) else 1)


def _check(name: str, probe: Any) -> dict[str, Any]:
    try:
        return {"name": name, "ok": True, "result": str(probe())}
    except Exception as error:  # the report is the handling
        return {"name": name, "ok": False, "result": text_of(error)}


def _plugin_checks(found: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"plugin {i.name}", "ok": i.status != "broken", "result": i.error or f"{i.status} {i.version}".strip()}
        for i in found.infos()
    ]


def _store_checks(url: str | None, repair: bool) -> list[dict[str, Any]]:
    """What is known of the store. Reads only, unless it is to repair: looking at a store leaves no trace in it."""
    facts: dict[str, Any] = {}
    checks = [_check("store", lambda: _store(url, repair, facts))]
    return [*checks, *({"name": f"store {name}", "ok": True, "result": str(fact)} for name, fact in facts.items())]


def _store(url: str | None, repair: bool, facts: dict[str, Any]) -> str:
    from sessile import SessionManager
    from sessile.store import Capabilities, shown

    with SessionManager(url) as manager:
        begin = time.perf_counter()
        page = manager.list(limit=1)
        facts["latency_ms"] = round((time.perf_counter() - begin) * 1000, 3)
        check = Capabilities.of(manager.store).check
        facts.update(check(repair) if check else {})
        facts["cut short"] = manager.sweep(repair=repair)
        where = shown(url or os.environ.get("SESSILE_STORE") or "the default file store")
        return f"{where} answers ({'has sessions' if page.items else 'empty'})"


def _verified(url: str | None) -> str:
    """How many sessions are as they were written; `CorruptStore` names those that are not."""
    from sessile import SessionManager

    sound, problems = 0, list[str]()
    with SessionManager(url) as manager, progress_bar("verifying") as progress:
        names = _all_names(manager)
        for number, session_id in enumerate(names):
            progress(number, len(names))
            try:
                problem = _problem(manager, session_id)
            except SessionNotFound:  # it was deleted meanwhile
                continue
            except SessileError as error:
                problem = str(error)
            if problem:
                problems.append(f"session {session_id!r}: {problem}")
            else:
                sound += 1
    if problems:
        raise CorruptStore("; ".join(problems))
    return f"{sound} are as they were written"


def _all_names(manager: Any) -> list[str]:
    """The ids of all sessions, also of those that cannot be read, which no list shows."""
    from sessile.store import RESERVED, Capabilities, owner_of

    logs = Capabilities.of(manager.store).logs
    of_logs = {owner_of(log) for log in logs()} if logs else set()
    return sorted({header.session_id for header in manager.each()} | {n for n in of_logs if not n.startswith(RESERVED)})


def _problem(manager: Any, session_id: str) -> str:
    session = manager.get_session(session_id)
    if session is None:  # only its log is left, which forks inherit
        raise SessionNotFound(f"there is no session {session_id!r}")
    with session:
        return str(session.verify().problem)


def _model(found: Any) -> str:
    from sessile.plugins import find_model

    return f"{type(find_model(None, found)).__name__} is the default"
