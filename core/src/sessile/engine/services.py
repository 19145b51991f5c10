"""Services: what plugins give a session to hold, such as its memory, each made of the option that the session was opened with."""

from __future__ import annotations

import logging
from typing import Any

from sessile.drive.faces import Face
from sessile.engine.handle import Handle
from sessile.errors import InvalidInput, PluginError

logger = logging.getLogger("sessile")


def service(h: Handle, name: str) -> Any:
    """The service with this name. It is made once for each handle, by calling the registered factory with (session, option).

    option: what the session was opened with (`memory=…`), None for nothing. A fork makes its own, of the same option. Closing the
    session calls `close()` of each that has one, the latest first. `NotInstalled` where no plugin registers the name,
    `InvalidInput` where the session was opened without it (`memory=False`).
    """
    h.check_open()
    if name not in h.services:
        option = h.options.get(name)
        if option is False:
            raise InvalidInput(f"session {h.session_id!r} was opened with {name}=False: open it without that")
        factory = h.plugins.registry.find("service", name).load()
        with h.making:
            if name not in h.services:
                h.services[name] = factory(h.session._owner, option)
    return h.services[name]


async def close_services(h: Handle, face: Face) -> None:
    """Close all services, the latest first. One that fails keeps no other open: it is logged, and under `strict` raised."""
    failed: PluginError | None = None
    while h.services:
        name, made = h.services.popitem()
        try:
            if hasattr(made, "close"):
                await face.call(made.close)
        except Exception as error:
            failure = PluginError(h.plugins.registry.find("service", name).plugin, f"close of service {name}", error)
            logger.error("%s", failure, exc_info=error)
            failed = failed or failure
    if failed is not None and h.strict:
        raise failed
