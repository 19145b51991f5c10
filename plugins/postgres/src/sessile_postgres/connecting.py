"""Pools of connections of either face, and what their errors mean."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

from sessile.addresses import shown
from sessile.errors import InvalidInput, StoreError, StoreUnavailable

OLDEST = 120000
_REFUSED = re.compile(r"password|authentication|role .* does not exist|database .* does not exist|no pg_hba.conf entry|SSL", re.I)


def conninfo(url: str, timeout: float) -> str:
    """The address with a limit for every answer, unless the URL has its own."""
    try:
        asked = psycopg.conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise InvalidInput(f"{shown(url)!r} has a parameter that libpq does not take ({error})".replace("\n", "")) from error
    limits = {"connect_timeout": max(2, round(timeout)), "options": f"-c statement_timeout={round(timeout * 1000)}"}
    return make_conninfo(url, **{name: value for name, value in limits.items() if name not in asked})


def make_pool(url: str, connection: Any, *, asynchronous: bool, pool_size: int, timeout: float) -> Any:
    """A pool of a kind of connections that connects when it is first used."""
    kind: Any = AsyncConnectionPool if asynchronous else ConnectionPool
    return kind(
        conninfo(url, timeout),
        connection_class=connection,
        kwargs={"autocommit": True},
        min_size=0,
        max_size=pool_size,
        timeout=timeout,
        open=False,
    )


def connection_kind(asynchronous: bool, timeout: float) -> Any:
    """A kind of connection that is closed when an answer takes too long: libpq would wait for ever where a network goes.

    It has a second more than the server, whose own limit, `statement_timeout`, is to be reached before.
    """
    kind: Any = psycopg.AsyncConnection if asynchronous else psycopg.Connection
    seconds = timeout + 1

    class Impatient(kind):
        def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
            return super().wait(self._until(time.monotonic() + seconds, gen), *args, **options)

        def _until(self, give_up: float, gen: Any) -> Any:
            try:
                wanted = next(gen)
                while True:
                    ready = yield wanted
                    if not ready and time.monotonic() > give_up:
                        self.pgconn.finish()
                        raise psycopg.OperationalError(f"no answer in {seconds:g} s")
                    wanted = gen.send(ready)
            except StopIteration as done:
                return done.value

    return Impatient


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise what psycopg raises as sessile's errors."""
    try:
        yield
    except PoolTimeout as error:
        raise StoreUnavailable(
            f"{shown(url)} gives no connection in time ({error}): is the server up, the pool large enough?"
        ) from error
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        text = " ".join(str(error).split())
        if error.sqlstate is None and _REFUSED.search(text):
            raise StoreError(f"{shown(url)} refuses this user, password or database ({text}): check the URL") from error
        raise StoreUnavailable(f"{shown(url)} does not answer ({text}): is the server up?") from error
    except psycopg.Error as error:
        raise StoreError(f"{shown(url)}: {' '.join(str(error).split())}") from error


def check_version(number: int, url: str) -> None:
    """`StoreError` for a server that lacks what is used here."""
    if number < OLDEST:
        raise StoreError(f"{shown(url)} is PostgreSQL {number / 10000:g}: {OLDEST // 10000} or later is needed")
