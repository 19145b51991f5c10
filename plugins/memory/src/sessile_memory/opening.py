"""Tables that sessions share: one for each file and embedder, open as long as somebody has it."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from weakref import WeakKeyDictionary

from sessile.plugins import new_lock
from sessile_memory.table import MemoryTable
from sessile_retrieval import Database, Embedder

_Key = tuple[str, str]
_lock = new_lock()
_beside: WeakKeyDictionary[object, dict[str, MemoryTable]] = WeakKeyDictionary()
_open: dict[_Key, tuple[MemoryTable, int]] = {}  # and how many have it


def _key(path: Path, embedder: Embedder | None) -> _Key:
    return os.path.realpath(path), embedder.name if embedder else ""


def table_beside(store: object, embedder: Embedder | None) -> MemoryTable:
    """The table of a store that is in this process, which lasts as long as that."""
    with _lock:
        tables = _beside.setdefault(store, {})
        name = embedder.name if embedder else ""
        if name not in tables:
            tables[name] = MemoryTable(Database(), embedder)
            weakref.finalize(store, tables[name].database.close)
        return tables[name]


def open_table(path: Path | None, embedder: Embedder | None) -> MemoryTable:
    """The table in a file; None: one of one's own, in this process."""
    if path is None:
        return MemoryTable(Database(), embedder)
    with _lock:
        table, users = _open.get(_key(path, embedder), (None, 0))
        table = table or MemoryTable(Database(path), embedder)
        _open[_key(path, embedder)] = table, users + 1
        return table


def open_tables() -> list[MemoryTable]:
    """Those that somebody in this process has."""
    with _lock:
        return [table for table, _ in _open.values()]


def release_table(table: MemoryTable) -> None:
    """Give a table back; the last one closes it."""
    path = table.database.path
    if path is None:
        table.database.close()
        return
    with _lock:
        key = _key(path, table.index.embedder)
        _, users = _open[key]
        if users > 1:
            _open[key] = table, users - 1
        else:
            del _open[key]
            table.database.close()
