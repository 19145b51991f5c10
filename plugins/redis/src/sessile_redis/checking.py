"""What the doctor is told: the round trip, the server's version and durability, the indexes."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from redis.exceptions import NoPermissionError, ResponseError

from sessile.store import maybe
from sessile_redis.index import Index
from sessile_redis.listing import read_through
from sessile_redis.rebuild import known, lost, rebuild

_HIDDEN = "unknown: this user may not ask (INFO)"


async def check(index: Index, version: str, repair: bool) -> dict[str, Any]:
    """The facts that `sessile doctor` shows. repair: rebuild the indexes and remove wrong entries."""
    client = index.client
    begin = time.perf_counter()
    await maybe(client.ping())
    latency = time.perf_counter() - begin
    durable = _HIDDEN
    with suppress(NoPermissionError):
        info = await maybe(client.info())
        version = info["redis_version"]
        durable = "appendonly" if info.get("aof_enabled") else "snapshots only: set appendonly yes"
    settings: dict[str, Any] = {}
    with suppress(ResponseError):  # CONFIG may be forbidden
        for name in ("appendfsync", "maxmemory-policy"):  # before Redis 7, one at a time
            settings.update(await maybe(client.config_get(name)))
    return {
        "latency_ms": round(latency * 1000, 3),
        "server": f"Redis {version or '(its version is unknown)'}",
        "durability": durable,
        **settings,
        "index": await _repaired(index) if repair else await _state(index),
    }


async def _repaired(index: Index) -> str:
    count = await rebuild(index)
    for name in [name async for names in known(index) for name in names]:
        await read_through(index, name)
    return f"made again from {count} sessions"


async def _state(index: Index) -> str:
    """In words, whether the indexes are whole."""
    missing = await lost(index)
    if not await maybe(index.client.sismember(index.keys.known, "*")):
        missing.append("what indexes there are")
    if missing:
        return (
            f"not complete ({len(missing)} lost, such as {missing[0]}): made again when somebody lists sessions, or by "
            "`sessile doctor --repair`"
        )
    entered = await maybe(index.client.zcard(index.keys.everyone[False]))
    return f"complete, {max(0, entered - 1)} sessions"
