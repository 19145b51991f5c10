"""Everything at once: processes that do everything at random with a handful of sessions, some of them killed; see at_once.py.

$SESSILE_TEST_SECONDS says how long (each test), $SESSILE_TEST_SEED which draws.
"""

from __future__ import annotations

import os
import random
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sessile.testing.plugin import full
from tests import at_once
from tests.journals import Journal, check_store
from tests.servers import wait_until
from tests.stores import DURABLE, SERVERS, url_of

SECONDS = os.environ.get("SESSILE_TEST_SECONDS")
SEED = os.environ.get("SESSILE_TEST_SEED") or secrets.token_hex(4)


class Started:
    """Processes on a store, and the journals that they leave in a folder."""

    def __init__(self, url: str, other: str, folder: Path, seconds: float) -> None:
        self.url, self.other, self.folder = url, other, folder
        self.seconds = seconds
        self.running: list[subprocess.Popen[str]] = []
        self.names = 0

    def start(self) -> None:
        """One more process, which is at work when this returns."""
        self.names += 1
        name = f"p{self.names}"
        command = [sys.executable, at_once.__file__, self.url, self.other, str(self.folder), name, SEED, str(self.seconds)]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.running.append(process)
        journal = self.folder / f"{name}-0.jsonl"
        wait_until(journal.stat, f"process {name}", 60, process)

    def wait(self, *, kill: bool = False) -> None:
        """Wait until all have ended. kill: meanwhile kill one every second or so, and start another."""
        draw = random.Random(SEED)
        for _ in range(int(self.seconds) if kill else 0):
            time.sleep(0.5 + draw.random())
            victim = self.running.pop(draw.randrange(len(self.running)))
            victim.kill()
            errors = victim.communicate()[1]
            assert victim.returncode in (0, -signal.SIGKILL), f"seed {SEED}: {errors}"
            self.start()
        for process in self.running:
            _, errors = process.communicate(timeout=self.seconds + 300)  # the last one has just begun
            assert not process.returncode, f"seed {SEED}: {errors}"

    def stop(self) -> None:
        for process in self.running:
            process.kill()
            process.communicate()


def check(url: str, other: str, folder: Path) -> None:
    journal = Journal()
    try:
        for path in folder.glob("*.jsonl"):
            journal.read(path)
        assert journal.steps["say"], "nobody has said anything"
        check_store(url, journal)
        check_store(other)
    except BaseException as error:
        error.add_note(f"seed {SEED}: set SESSILE_TEST_SEED")
        raise


@pytest.mark.parametrize("kill", [False, True], ids=["all end", "kill -9"])
@pytest.mark.parametrize("kind", [*DURABLE, *SERVERS])
def test_processes(kind: str, kill: bool, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    heavy = full(request.config)
    if kind in SERVERS:
        server = request.getfixturevalue(f"{kind}_server")
        url, other = server.url(), server.url()
    else:
        url, other = url_of(kind, tmp_path / "here"), url_of(kind, tmp_path / "there")
    for folder in ("here", "there", "journals"):
        (tmp_path / folder).mkdir()
    started = Started(url, other, tmp_path / "journals", float(SECONDS or (20 if heavy else 3)))
    try:
        for _ in range(4 if heavy else 2):
            started.start()
        started.wait(kill=kill)
    finally:
        started.stop()
    check(url, other, tmp_path / "journals")


def test_threads(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url, other = url_of("memory", tmp_path), url_of("memory", tmp_path)
    at_once.work(url, other, tmp_path, "t", SEED, float(SECONDS or (20 if full(request.config) else 3)))
    check(url, other, tmp_path)
