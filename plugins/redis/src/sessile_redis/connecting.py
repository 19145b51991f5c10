"""Clients of either face, and what their errors mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from redis import exceptions
from redis.backoff import NoBackoff

from sessile.errors import CorruptStore, InvalidInput, StoreError, StoreUnavailable
from sessile.store import maybe, shown

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
_REFUSED = (exceptions.AuthenticationError, exceptions.AuthorizationError)
_IN_A_SCRIPT = re.compile("user executing the script can't|ACL failure in script|NOPERM")


def make_client(url: str, *, cluster: bool, asynchronous: bool, pool_size: int, timeout: float) -> Any:
    """A client that connects when it is first used. It sends nothing twice: whether a commit landed, the core finds out."""
    import redis.asyncio
    from redis.asyncio.retry import Retry as AsyncRetry
    from redis.retry import Retry

    options: dict[str, Any] = {"socket_timeout": timeout, "socket_connect_timeout": timeout, "max_connections": pool_size}
    options["retry"] = (AsyncRetry if asynchronous else Retry)(NoBackoff(), 0)
    with explained(url, ""):
        if cluster:
            kind = redis.asyncio.RedisCluster if asynchronous else redis.RedisCluster
            return kind.from_url(one_server(url), **options)
        pool = redis.asyncio.BlockingConnectionPool if asynchronous else redis.BlockingConnectionPool
        made = pool.from_url(url, timeout=timeout, **options)
        return (redis.asyncio.Redis if asynchronous else redis.Redis)(connection_pool=made)


def one_server(url: str) -> str:
    """The address of the one server that a cluster's names."""
    return url.replace("+cluster", "", 1)


@contextmanager
def explained(url: str, prefix: str) -> Iterator[None]:
    """Raise what the client raises as sessile's errors. prefix: of the store's keys."""
    try:
        yield
    except exceptions.NoPermissionError as error:
        raise _forbidden(url, prefix, error) from error
    except _REFUSED as error:
        raise StoreError(f"{shown(url)} refuses this user or password ({error}): check both in the URL") from error
    except _GONE as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            raise StoreError(f"{shown(url)}: {error}. To trust its certificate, add ssl_ca_certs=FILE to the URL") from error
        raise StoreUnavailable(f"{shown(url)} does not answer ({type(error).__name__}: {error}): is the server up?") from error
    except exceptions.RedisError as error:
        raise _explained(url, prefix, error) from error
    except (TypeError, ValueError) as error:
        if "keyword argument" in str(error) or "Invalid value" in str(error):
            raise InvalidInput(f"{shown(url)!r} has a parameter that redis-py does not take ({error})") from error
        raise


@contextmanager
def unread_answers_lost(client: Any) -> Iterator[None]:
    """Drop a blocking client's connections where Ctrl-C or a signal's handler interrupts a call.

    The client gives such a connection back before its answer is read, and the next to use it would take that for its own.
    """
    try:
        yield
    except Exception:  # the client knows what to do
        raise
    except BaseException:
        pools = client.disconnect_connection_pools if hasattr(client, "disconnect_connection_pools") else None
        pools() if pools else client.connection_pool.disconnect()
        raise


def _explained(url: str, prefix: str, error: exceptions.RedisError) -> StoreError:
    text = str(error)
    if _IN_A_SCRIPT.search(text):
        return _forbidden(url, prefix, error)
    if "WRONGTYPE" in text:
        return CorruptStore(f"{shown(url)}: a key that begins with {prefix}: is not sessile's ({text}). Pass another prefix")
    if "LOGLENGTH" in text:
        return CorruptStore(f"{shown(url)}: {text}. Restore a copy, or delete the session")
    return StoreError(f"{shown(url)}: {text}")


def _forbidden(url: str, prefix: str, error: exceptions.RedisError) -> StoreError:
    return StoreError(
        f"{shown(url)} forbids this user a command, a key or a channel ({error}). sessile needs the keys ~{prefix}:*, the "
        f"channels &{prefix}:* and the commands that +@all -@dangerous leaves"
    )


async def check_version(client: Any, url: str, *, cluster: bool) -> str:
    """The server's version; "" if unknown. Raises `StoreError` for a version that is too old."""
    version = await _version(client, cluster)
    if version and tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise StoreError(f"{shown(url)} is Redis {version}: {'.'.join(map(str, OLDEST))} or later is needed")
    return version


async def _version(client: Any, cluster: bool) -> str:
    where = {}
    if cluster:
        await maybe(client.ping())  # it knows its nodes from then on
        where["target_nodes"] = client.get_default_node()
    try:
        said = await maybe(client.execute_command("HELLO", **where))  # which everybody may ask, not as INFO
    except exceptions.ResponseError:  # Redis 5, or somebody renamed it
        with suppress(exceptions.NoPermissionError):
            return str((await maybe(client.info("server")))["redis_version"])
        return ""
    if isinstance(said, list):
        said = dict(zip(said[::2], said[1::2], strict=True))
    version: bytes | str = said[b"version"] if b"version" in said else said["version"]
    return version.decode() if isinstance(version, bytes) else version
