"""Worker threads of the async face, in two pools.

A pool of a fixed size stands still for ever once all of its threads wait for work that is queued behind them. So the rule
is: code that may call back into sessile gets a thread of its own, made on demand and used again later (`CALLS`: layers
of middleware, models, tools, hooks; each may run a whole turn of another session). Stores wait for nobody here: a few
threads serve them all (`STORES`), and no slow model ever holds up a read.

A forked child has none of its parent's threads; it makes pools of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

STORES, CALLS = "sessile-store", "sessile-call"
_SIZES = {STORES: min(32, (os.cpu_count() or 1) + 4), CALLS: 2**31}

_pools: dict[str, ThreadPoolExecutor] = {}
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


async def in_thread(pool: str, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a blocking function in a thread of a pool, with the caller's context variables, and return its result."""
    executor = _pools.get(pool) or _pools.setdefault(pool, ThreadPoolExecutor(_SIZES[pool], pool))
    call = functools.partial(contextvars.copy_context().run, _called, fn, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(executor, call)


def _called(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except StopIteration as error:  # no future takes this one: before Python 3.12 who awaits it waits for ever
        raise RuntimeError("a StopIteration was raised") from error
