"""Programs that are killed in the middle of what they do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator

DELAYS = (0.0, 0.0005, 0.002, 0.01)  # seconds behind a commit, in which the next ones are made


def killed_while_it_writes(program: str, url: str) -> Iterator[None]:
    """Run a program that prints a line for each commit, and kill it (SIGKILL); another instant each time. Yields behind each."""
    for delay in DELAYS:
        process = subprocess.Popen([sys.executable, "-c", program, url], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline(), "the program ended by itself"
        time.sleep(delay)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
        yield
