"""Services: what plugins give a session to hold, such as its memory, each made of the option that the session was opened with."""

from __future__ import annotations

import logging
from typing import Any

from sessile.drive.faces import Blocking, Face, is_awaitable, run
from sessile.drive.locks import new_lock
from sessile.drive.once import mark
from sessile.engine.handle import Handle
from sessile.errors import Closed, InvalidInput, LockTimeout, PluginError
from sessile.log.header import Header
from sessile.plugins.registry import Registration, is_given

logger = logging.getLogger("sessile")
# What the factories that this code runs in are making, also where they wait for a hook in another thread.
_being_made = mark("the services that are being made")


def service(h: Handle, name: str) -> Any:
    """The service with this name. It is made once for each handle, by calling the registered factory with (session, option).

    option: what the session was opened with (`memory=…`), None if it was not given. A fork makes its own, of the same option.
    Closing the session calls `close()` of each that has one, in reverse order, as one may use those that were made before it.
    `NotInstalled` where no plugin registers the name, `InvalidInput` where the session was opened without it (`memory=False`),
    or is an `AsyncSession` that was not opened yet: it is not known then whose it is.
    """
    h.check_open()
    if h.seen is None:
        raise InvalidInput(
            f"session {h.session_id!r} is not open yet, so its {name} cannot be made: use `async with`, or await a method first"
        )
    if name not in h.services:
        option = h.options.get(name)
        if option is False:
            raise InvalidInput(f"session {h.session_id!r} was opened with {name}=False: open it without that")
        registration = h.plugins.registry.find("service", name)
        if any(services is h.services and making == name for services, making in (_being_made.get() or ())):
            raise PluginError(registration.plugin, f"service {name}", RecursionError(f"making it asks for {name} itself"))
        _make_once(h, name, registration, option)
    try:
        return h.services[name]
    except KeyError:
        raise _closing(h, name) from None


def asked_for(h: Handle) -> list[str]:
    """The names of the services that the session has options for."""
    return [name for name, option in h.options.items() if is_given(option)]


def make_services(h: Handle) -> None:
    """Make those services, so that a bad option is an error when the session is opened."""
    for name in asked_for(h):
        service(h, name)


async def open_with_services(h: Handle) -> Header:
    """The session's newest header, once its services are made."""
    header = await h.open()
    if asked_for(h):
        await h.face.call(make_services, h)
    return header


def _make_once(h: Handle, name: str, registration: Registration, option: Any) -> None:
    """Make a service, or wait until another thread has."""
    lock = h.making.setdefault(name, new_lock(reentrant=True))
    if not lock.acquire(timeout=h.timeout):
        raise LockTimeout(
            f"the {name} of session {h.session_id!r} was not made within {h.timeout} s: is something waited for in its factory?"
        )
    try:
        if name not in h.services:
            _make(h, name, registration, option)
    finally:
        lock.release()


def _make(h: Handle, name: str, registration: Registration, option: Any) -> None:
    if h.closing:
        raise _closing(h, name)
    inside = _being_made.set((*(_being_made.get() or ()), (h.services, name)))
    try:
        made = registration.load()(h.session._owner, option)
        if is_awaitable(made):
            made.close()
            raise PluginError(registration.plugin, f"service {name}", TypeError("its factory is async: make it a plain function"))
    finally:
        _being_made.reset(inside)
    h.services[name] = made
    if h.closing and h.services.pop(name, None) is made:  # it came too late for who closes the others
        run(_close(made, Blocking()))
        raise _closing(h, name)


def _closing(h: Handle, name: str) -> Closed:
    return Closed(f"session {h.session_id!r} is being closed, and its {name} is not there any more: open the session again")


async def close_services(h: Handle, face: Face) -> None:
    """Close all services, the latest first. One that fails keeps no other open: it is logged, and under `strict` raised."""
    h.closing = True
    failed: PluginError | None = None
    while h.services:
        name, made = h.services.popitem()
        try:
            await _close(made, face)
        except Exception as error:
            failure = PluginError(h.plugins.registry.find("service", name).plugin, f"close of service {name}", error)
            logger.error("%s", failure, exc_info=error)
            failed = failed or failure
    if failed is not None and h.strict:
        raise failed


async def _close(made: Any, face: Face) -> None:
    if hasattr(made, "close"):
        await face.call(made.close)
