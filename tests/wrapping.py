"""A store wrapper that a plugin brings: what it keeps cannot be read in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from sessile import hookimpl
from sessile.store import JSON, Entry, Header, StoreWrapper, from_json, to_json


class Reversed(StoreWrapper):
    """Keeps bodies, originals and state backwards."""

    def entry_in(self, entry: Entry) -> Entry:
        return attrs.evolve(entry, body={"kept": _backwards(entry.body)}, raw=entry.raw and entry.raw[::-1])

    def entry_out(self, entry: Entry) -> Entry:
        return attrs.evolve(entry, body=_forwards(entry.body["kept"]), raw=entry.raw and entry.raw[::-1])

    def changes_in(self, session_id: str, changes: Mapping[str, JSON]) -> Mapping[str, JSON]:
        return {**changes, "state": {"kept": _backwards(changes["state"])}} if "state" in changes else changes

    def header_out(self, header: Header) -> Header:
        return attrs.evolve(header, state=_forwards(header.state["kept"])) if "kept" in header.state else header


def _backwards(value: Any) -> str:
    return to_json(value)[::-1]


def _forwards(kept: str) -> Any:
    return from_json(kept[::-1])


class Plugin:
    """Registers it."""

    @hookimpl
    def register(self, registry: Any) -> None:
        registry.add("wrapper", "reversed", "tests.wrapping:Reversed")
