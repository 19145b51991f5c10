"""Clients of either face, and what their errors mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff

from sessile.addresses import shown
from sessile.errors import InvalidInput, StoreError, StoreUnavailable

OLDEST = (6, 2)

_GONE = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    exceptions.RedisClusterException,
    exceptions.MasterDownError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    OSError,
)
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError, exceptions.NoPermissionError)


def make_client(url: str, *, cluster: bool, asynchronous: bool, pool_size: int, timeout: float) -> Any:
    """A client that connects when it is first used. It sends nothing twice: whether a commit landed, the core finds out."""
    import redis.asyncio
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.retry import Retry

    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "max_connections": pool_size}
    options["retry"] = (AsyncRetry if asynchronous else Retry)(NoBackoff(), 0)
    with explained(url):
        if cluster:
            kind = redis.asyncio.RedisCluster if asynchronous else redis.RedisCluster
            return kind.from_url(url.replace("+cluster", "", 1), **options)
        pool = redis.asyncio.BlockingConnectionPool if asynchronous else redis.BlockingConnectionPool
        made = pool.from_url(url, timeout=timeout, **options)
        return (redis.asyncio.Redis if asynchronous else redis.Redis)(connection_pool=made)


@contextmanager
def explained(url: str) -> Iterator[None]:
    """Raise what the client raises as sessile's errors."""
    try:
        yield
    except _REFUSED as error:
        raise StoreError(f"{shown(url)} refuses this user or password ({error}): check what the URL says of them") from error
    except _GONE as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise StoreError(f"{shown(url)}: {error}. To trust its certificate, add ssl_ca_certs=FILE to the URL") from error
        raise StoreUnavailable(f"{shown(url)} does not answer ({type(error).__name__}: {error}): is the server up?") from error
    except exceptions.RedisError as error:
        raise StoreError(f"{shown(url)}: {error}") from error
    except (TypeError, ValueError) as error:
        if "keyword argument" in str(error) or "Invalid value" in str(error):
            raise InvalidInput(f"{shown(url)!r} has a parameter that redis-py does not take ({error})") from error
        raise


def check_version(version: str, url: str) -> None:
    """`StoreError` for a server that lacks what is used here."""
    numbers = tuple(int(part) for part in version.split(".")[:2])
    if numbers < OLDEST:
        raise StoreError(f"{shown(url)} is Redis {version}: {'.'.join(map(str, OLDEST))} or later is needed")
