"""A process of the conformance kit that deletes a session, to be killed while it does.

    python -m sessile.testing.driving.deleter URL SESSION

It prints "begin" before and "done" after, and then waits.
"""

from __future__ import annotations

import sys
import time

from sessile.session.managing.manager import SessionManager


def main(url: str, session_id: str) -> None:
    with SessionManager(url) as manager:
        manager.exists(session_id)  # connected
        print("begin", flush=True)
        manager.delete(session_id)
        print("done", flush=True)
        time.sleep(60)


if __name__ == "__main__":
    main(*sys.argv[1:])
