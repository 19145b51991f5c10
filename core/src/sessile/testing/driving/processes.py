"""Writer processes, and what must be true of what they left."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence

from sessile.session import Session


def start_writer(url: str, session_id: str, name: str, count: int, batch: int = 1) -> subprocess.Popen[str]:
    """A process that appends; it prints the number of each append once it is stored."""
    command = [sys.executable, "-m", "sessile.testing.driving.writer", url, session_id, name, str(count), str(batch)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def many_writers(url: str, session_id: str, writers: int, appends: int) -> None:
    """So many processes append to one session at once: each message is there once, each writer's in its order."""
    names = [f"w{number}" for number in range(writers)]
    processes = [start_writer(url, session_id, name, appends) for name in names]
    for process in processes:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    with Session(session_id, store=url) as session:
        said = [message.text for message in session.get_history()]
        assert session.message_count == len(said)
    assert Counter(said) == Counter(f"{name} {index}" for name in names for index in range(appends))
    for name in names:
        own = [text for text in said if text.split()[0] == name]
        assert own == [f"{name} {index}" for index in range(appends)]


def kill_writer(url: str, session_id: str, batch: int, rng: random.Random) -> int:
    """Kill a writer (SIGKILL) at a random instant; returns how many appends it had been told are stored.

    All of those are there, nothing is there in part, and the session opens and goes on without repair.
    """
    process = start_writer(url, session_id, "k", 0, batch)
    assert process.stdout is not None
    acknowledged = [process.stdout.readline()]  # it runs
    assert acknowledged[0], process.communicate()[1]
    time.sleep(rng.random() * 0.05)
    process.kill()
    acknowledged += process.stdout.read().splitlines(keepends=True)
    process.communicate()
    count = len([line for line in acknowledged if line.endswith("\n")])
    with Session(session_id, store=url) as session:
        check_batches([message.text for message in session.get_history()], count, batch)
        session.add_message("user", "after")
        assert session.get_history(1)[0].text == "after"
    return count


def check_batches(said: Sequence[str], acknowledged: int, batch: int) -> None:
    """`said` is a whole number of batches in order, all that were acknowledged and at most one more."""
    if batch == 1:
        assert list(said) == [f"k {index}" for index in range(len(said))]
    else:
        assert list(said) == [f"k {index // batch}.{index % batch}" for index in range(len(said))]
    assert len(said) % batch == 0
    assert acknowledged <= len(said) // batch <= acknowledged + 1
