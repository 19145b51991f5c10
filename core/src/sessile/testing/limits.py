"""Time limits of the kit: work runs in a thread of its own, which is left behind where it does not end.

No signal and no library: that works on every system, in every thread, and whatever a method waits for.
"""

from __future__ import annotations

import contextvars
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

T = TypeVar("T")


class Overtime(AssertionError):
    """Something was not done in time."""


def within(seconds: float, what: str, work: Callable[[], T]) -> T:
    """The result of `work`, or what it raised; `Overtime` after so many seconds, whose text begins with `what`."""
    __tracebackhide__ = True
    done = threading.Event()
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=contextvars.copy_context().run, args=(run,), name="sessile-kit", daemon=True)
    thread.start()
    if not done.wait(seconds):
        frame = sys._current_frames().get(thread.ident or 0)
        raise Overtime(f"{what}: not done within {seconds:g} s: does {_suspect(frame)} hang?\n{_stack(frame)}")
    if errors:
        raise errors[0]
    return results[0]


def at_once(*works: Callable[[], Any]) -> None:
    """Run functions in threads of their own and wait for all; the first error of one is raised."""
    errors: list[BaseException] = []

    def run(work: Callable[[], Any]) -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def _suspect(frame: FrameType | None) -> str:
    """The method of a store that a thread is in, the innermost one."""
    from sessile.store.waist import is_store

    for inner, _ in traceback.walk_stack(frame) if frame else ():
        store = inner.f_locals.get("self")
        if not inner.f_code.co_name.startswith("_") and is_store(store):
            return f"{type(store).__name__}.{inner.f_code.co_name}"
    return "a method"


def _stack(frame: FrameType | None) -> str:
    lines = traceback.format_stack(frame) if frame else ["it has just ended\n"]
    begin = max((number for number, line in enumerate(lines) if __file__ in line), default=-1) + 1  # of the work itself
    return "".join(lines[begin:]).rstrip()


def leave_what_hangs() -> None:
    """Let the process end though threads hang that Python waits for at the end: they belong to pools, so are no daemons."""

    def wait() -> None:
        main = threading.main_thread().ident or 0
        seen = 0
        while seen < 3:
            time.sleep(0.5)
            frame = sys._current_frames().get(main)
            names = [inner.f_code.co_name for inner, _ in traceback.walk_stack(frame)] if frame else []
            seen = seen + 1 if "_shutdown" in names else 0  # of `threading`
        os._exit(1)

    threading.Thread(target=wait, name="sessile-kit-end", daemon=True).start()
