"""Clients of either face, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bson.errors import InvalidDocument
from pymongo import AsyncMongoClient, MongoClient, errors

from sessile.errors import InvalidInput, StoreError, StoreUnavailable
from sessile.store import shown

OLDEST = (4, 4)
_AUTHENTICATION = (11, 13, 18, 8000)  # codes: user not found, unauthorized, authentication failed, Atlas' own
_TOO_LARGE = (10334, 17419, 17420)


def make_client(url: str, *, asynchronous: bool, pool_size: int, timeout: float) -> Any:
    """A client that connects when it is first used. It sends nothing twice: whether a write landed, the core finds out."""
    milliseconds = round(timeout * 1000)
    options: dict[str, Any] = {
        "serverSelectionTimeoutMS": milliseconds,
        "connectTimeoutMS": milliseconds,
        "socketTimeoutMS": milliseconds,
        "maxPoolSize": pool_size,
        "w": "majority",
        "journal": True,
    }
    asked = {part.partition("=")[0].lower() for part in url.partition("?")[2].split("&")}
    options = {name: value for name, value in options.items() if name.lower() not in asked}
    with explained(url):
        kind = AsyncMongoClient if asynchronous else MongoClient
        return kind(url, connect=False, retryWrites=False, retryReads=False, **options)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise what the driver raises as sessile's errors."""
    try:
        yield
    except (errors.InvalidURI, errors.ConfigurationError) as error:
        raise InvalidInput(f"{shown(url)!r} is no address of a MongoDB ({error})") from error
    except errors.ConnectionFailure as error:
        text = str(error).partition(", Timeout:")[0]
        if "CERTIFICATE_VERIFY_FAILED" in text:
            raise StoreError(f"{shown(url)}: {text}. To trust its certificate, add tlsCAFile=FILE to the URL") from error
        raise StoreUnavailable(f"{shown(url)} does not answer ({text}): is the server up?") from error
    except errors.DocumentTooLarge as error:
        raise InvalidInput(_too_large(url, error)) from error
    except errors.OperationFailure as error:
        if error.code in _AUTHENTICATION:
            raise StoreError(f"{shown(url)} refuses this user or password ({error}): check what the URL says of them") from error
        if error.code in _TOO_LARGE:
            raise InvalidInput(_too_large(url, error)) from error
        raise StoreError(f"{shown(url)}: {error}") from error
    except (UnicodeEncodeError, InvalidDocument, OverflowError) as error:
        raise InvalidInput(
            f"{shown(url)} cannot hold this ({error}): pass text that can be encoded, and smaller numbers"
        ) from error
    except errors.InvalidOperation as error:  # it was closed meanwhile
        raise StoreUnavailable(f"the connection to {shown(url)} was closed: ask again") from error
    except errors.PyMongoError as error:
        raise StoreError(f"{shown(url)}: {error}") from error


def _too_large(url: str, error: Exception) -> str:
    return f"{shown(url)} takes at most 16 MB in one commit ({error}): commit less at a time"


def check_version(version: str, url: str) -> None:
    """`StoreError` for a server that lacks what is used here."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < OLDEST:
        raise StoreError(f"{shown(url)} is MongoDB {version}: {'.'.join(map(str, OLDEST))} or later is needed")
