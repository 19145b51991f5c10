"""`sessile plugins` and `sessile doctor`: what is installed, what works, and what to do."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import attrs
import click

from sessile.errors import CorruptStore
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

    problems: list[str] = []
    with SessionManager(url) as manager, progress_bar("verifying") as progress:
        found = [header.session_id for header in manager.each()]
        for number, session_id in enumerate(found):
            progress(number, len(found))
            try:
                if (session := manager.get_session(session_id)) is not None:
                    problems += [f"session {session_id!r}: {result.problem}"] if not (result := session.verify()) else []
            except CorruptStore as error:
                problems.append(f"session {session_id!r}: {error}")
    if problems:
        raise CorruptStore("; ".join(problems))
    return f"{len(found)} are as they were written"


def _model(found: Any) -> str:
    from sessile.plugins import find_model

    return f"{type(find_model(None, found)).__name__} is the default"
