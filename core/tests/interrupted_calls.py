"""A program: calls that a signal interrupts at random instants. Run by test_interrupts.py, with a store's URL.

It prints what was acknowledged, and what was interrupted. It is a process of its own because an interrupted library may keep
a lock for ever, as `logging` does.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import statistics
import sys
import time

from sessile import Session
from sessile.store.opening import open_store

CALLS = 150
AGAIN = 5.0  # seconds after which whoever pressed Ctrl-C in vain does so again: pymongo, interrupted, may wait for its own lock
faulthandler.dump_traceback_later(100, exit=True)  # where it waits for ever


class Interrupt(BaseException):
    """As KeyboardInterrupt."""


def interrupt(*_: object) -> None:
    raise Interrupt


session = Session("s", store=open_store(sys.argv[1]))
told: list[str] = [f"first {number}" for number in range(21)]
took: list[float] = []
for text in told:
    begin = time.perf_counter()
    session.add_message("user", text)
    took.append(time.perf_counter() - begin)
usual = statistics.median(took)  # seconds of a call, now that all is imported and connected
signal.signal(signal.SIGALRM, interrupt)
unknown: list[str] = []
for number in range(CALLS):
    text = f"m{number}"
    try:
        if number % 2:  # the call after one that was interrupted has to succeed
            signal.setitimer(signal.ITIMER_REAL, usual * (1 + number % 23) / 20, AGAIN)
        session.add_message("user", text)
        signal.setitimer(signal.ITIMER_REAL, 0)
        told.append(text)
    except Interrupt:
        signal.setitimer(signal.ITIMER_REAL, 0)
        unknown.append(text)
print(json.dumps([told, unknown]), flush=True)
os._exit(0)  # nothing that holds such a lock is waited for
