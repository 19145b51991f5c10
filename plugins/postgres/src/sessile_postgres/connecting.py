"""Connections of either face: where they go, how long they wait, and what their errors mean."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from sessile.errors import InvalidInput, StoreError, StoreUnavailable
from sessile.store import shown

OLDEST = 120000
_REFUSED = re.compile(
    r"password|authentication|role .* does not exist|database .* does not exist|no pg_hba.conf entry|certificate"
    r"|does not support SSL|SSL error: (?!unexpected eof)",
    re.I,
)


class Lost(psycopg.OperationalError):
    """A connection that had been made is of no use any more; another one may be."""


class NoAnswer(psycopg.OperationalError):
    """The server is silent."""


def conninfo(url: str, timeout: float) -> str:
    """The address as libpq takes it, with a limit for every answer. What the URL says itself comes behind that, and wins."""
    address, mark, query = url.partition("?")
    query = urlencode(parse_qsl(query, keep_blank_values=True), quote_via=quote)  # libpq knows no "+" for a space
    try:
        asked = conninfo_to_dict(address + mark + query)
    except psycopg.ProgrammingError as error:
        raise InvalidInput(f"{shown(url)!r} has a parameter that libpq does not take ({error})".replace("\n", "")) from error
    more = asked.get("options") or os.environ.get("PGOPTIONS", "")
    options = f"-c statement_timeout={round(timeout * 1000)} {more}"
    return make_conninfo(**{"connect_timeout": max(2, round(timeout)), **asked, "options": options})


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
                        raise NoAnswer(f"no answer in {seconds:g} s")
                    wanted = gen.send(ready)
            except StopIteration as done:
                return done.value

        def __del__(self) -> None:
            """A store that nobody closed needs no warning for each of its connections."""

    return Impatient


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise what psycopg raises as sessile's errors."""
    try:
        yield
    except (psycopg.OperationalError, psycopg.InterfaceError) as error:
        text = " ".join(str(error).split())
        if error.sqlstate is None and not isinstance(error, Lost) and _REFUSED.search(text):
            raise StoreError(f"{shown(url)} refuses this user, password or database ({text}): check the URL") from error
        raise StoreUnavailable(f"{shown(url)} does not answer ({text}): is the server up?") from error
    except (UnicodeEncodeError, psycopg.Error) as error:
        if isinstance(error, UnicodeEncodeError) or (isinstance(error, psycopg.DataError) and error.sqlstate is None):
            raise InvalidInput(f"PostgreSQL has no such text ({error}): leave out lone surrogates and NUL characters") from error
        raise StoreError(f"{shown(url)}: {' '.join(str(error).split())}") from error


def check_version(number: int, url: str) -> None:
    """`StoreError` for a server that lacks what is used here."""
    if number < OLDEST:
        raise StoreError(f"{shown(url)} is PostgreSQL {number / 10000:g}: {OLDEST // 10000} or later is needed")
