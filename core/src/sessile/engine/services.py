"""Services: what plugins give a session to hold, such as its memory, each made of the option that the session was opened with."""

from __future__ import annotations

import logging
from typing import Any

from sessile.drive.faces import Blocking, Face, is_awaitable, run
from sessile.engine.handle import Handle
from sessile.errors import Closed, InvalidInput, PluginError
from sessile.plugins.registry import Registration

logger = logging.getLogger("sessile")


def service(h: Handle, name: str) -> Any:
    """The service with this name. It is made once for each handle, by calling the registered factory with (session, option).

    option: what the session was opened with (`memory=…`), None for nothing. A fork makes its own, of the same option. Closing the
    session calls `close()` of each that has one, the latest first: each may use those that were made before it.
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
        with h.making:
            if name not in h.services:
                _make(h, name, registration, option)
    try:
        return h.services[name]
    except KeyError:
        raise _closing(h, name) from None


def make_services(h: Handle) -> None:
    """Make the services that the session has options for, so that a bad option is an error when it is opened."""
    for name, option in h.options.items():
        if option is not None and option is not False:
            service(h, name)


def _make(h: Handle, name: str, registration: Registration, option: Any) -> None:
    if h.closing:
        raise _closing(h, name)
    if name in h.being_made:
        raise PluginError(registration.plugin, f"service {name}", RecursionError(f"making it asks for {name} itself"))
    h.being_made.add(name)
    try:
        made = registration.load()(h.session._owner, option)
        if is_awaitable(made):
            made.close()
            raise PluginError(registration.plugin, f"service {name}", TypeError("its factory is async: make it a plain function"))
    finally:
        h.being_made.discard(name)
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
