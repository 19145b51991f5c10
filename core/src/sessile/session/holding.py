"""What plugins give a session to hold: its services, and the methods of the field that are a line each to one of them."""

from __future__ import annotations

from typing import Any

from sessile.drive.arguments import checked_class
from sessile.engine.handle import Handle
from sessile.engine.services import service


@checked_class
class HoldsServices:
    """A session that holds services."""

    _handle: Handle

    def service(self, name: str) -> Any:
        """The session's service with this name, such as "memory" or "knowledge", from the plugin that registers it.

        Made once, of the option that the session was opened with. `NotInstalled` where no plugin registers it.
        """
        return service(self._handle, name)

    @property
    def memory(self) -> Any:
        """The session's memory service, from a memory plugin. `NotInstalled` without one."""
        return self.service("memory")

    def add_memory(self, text: str, **options: Any) -> Any:
        """`session.memory.add`: remember a text."""
        return self.memory.add(text, **options)

    def search_memory(self, query: str, limit: int = 10, **options: Any) -> Any:
        """`session.memory.search`: what is remembered that has to do with a query, best first."""
        return self.memory.search(query, limit, **options)

    @property
    def knowledge(self) -> Any:
        """The session's knowledge service, from a knowledge plugin. `NotInstalled` without one."""
        return self.service("knowledge")
