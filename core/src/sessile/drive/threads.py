"""Worker threads of the async face.

A fixed-size pool deadlocks once all of its threads wait for work that is queued behind them. So the rule
is: code that may call back into sessile gets a thread of its own, made on demand and used again later (`CALLS`: layers
of middleware, models, tools, hooks; each may run a whole turn of another session). A store waits for nobody here: a few
threads serve it, and no slow model ever holds up a read. Each store has its own, as one whose file is locked, or whose
server is far away, must not hold up the others. They end when the store is collected.

A forked child has none of its parent's threads; it makes pools of its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

CALLS = None  # whom the threads for calls serve: no store
_SIZE = min(32, (os.cpu_count() or 1) + 4)  # threads of a store

_pools: dict[int, ThreadPoolExecutor] = {}  # by the id of whom they serve
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pools.clear)


async def in_thread(store: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """Call a blocking function in a thread, with the caller's context variables, and return its result.

    store: the one that the function is a method of; `CALLS` for what may call back into sessile.
    """
    executor = _pools.get(id(store)) or _pool(store)
    call = functools.partial(contextvars.copy_context().run, _called, fn, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(executor, call)


def _pool(store: Any) -> ThreadPoolExecutor:
    """The new pool of a store; those that cannot be referred to weakly, and so never end, share one."""
    if store is CALLS:
        return _pools.setdefault(id(CALLS), ThreadPoolExecutor(2**31, "sessile-call"))
    try:
        weakref.finalize(store, _pools.pop, id(store), None).atexit = False
        owner = id(store)
    except TypeError:
        owner = 0
    return _pools.setdefault(owner, ThreadPoolExecutor(_SIZE, "sessile-store"))


def _called(fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return fn(*args, **kwargs)
    except StopIteration as error:  # no future takes this one: before Python 3.12 who awaits it waits for ever
        raise RuntimeError("a StopIteration was raised") from error
