"""Every error sessile raises on purpose. Each text says what was wrong, with the value, and what to do."""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccessDenied",
    "AgentNotFound",
    "Closed",
    "Conflict",
    "CorruptStore",
    "InvalidArgument",
    "InvalidInput",
    "InvalidMessage",
    "InvalidSessionId",
    "InvalidState",
    "LeaseLost",
    "LockTimeout",
    "Missing",
    "ModelError",
    "NotInstalled",
    "NotRegistered",
    "PluginError",
    "ReadOnly",
    "SessileError",
    "SessionExists",
    "SessionNotFound",
    "StoreError",
    "StoreTooNew",
    "StoreUnavailable",
    "TurnInterrupted",
    "UnsafeFile",
]


class SessileError(Exception):
    """The base of all of sessile's errors."""


class InvalidInput(SessileError, ValueError):
    """Something handed to sessile cannot be stored as it is; nothing was written."""


class InvalidArgument(InvalidInput, TypeError):
    """An argument has a value its parameter does not accept, or a keyword is unknown. Nothing was done."""


class ReadOnly(SessileError, TypeError):
    """A read-only value was assigned to. The text names the method that changes it."""


class InvalidSessionId(InvalidInput):
    """A session or user id that cannot be a safe, unique path, key and column."""


class InvalidMessage(InvalidInput):
    """A message whose role, content or metadata cannot be stored."""


class InvalidState(InvalidInput):
    """State or a state key that cannot be stored."""


class SessionNotFound(SessileError, LookupError):
    """No session has this id, or it was deleted while this handle was open."""


class AgentNotFound(InvalidInput, LookupError):
    """A session has no agent of this name."""


class SessionExists(SessileError):
    """A session with this id exists already."""


class AccessDenied(SessileError, PermissionError):
    """A session belongs to another user."""


class Closed(SessileError):
    """A session or a store was used after it was closed."""


class NotRegistered(InvalidInput):
    """No plugin, and not the core, defines a kind or hook with this name."""


class Conflict(SessileError):
    """Somebody else committed first.

    `header` is what the store holds now, a `Header`; None where it holds no such session.
    """

    def __init__(self, text: str, header: Any = None) -> None:
        super().__init__(text)
        self.header = header


class StoreError(SessileError):
    """A store could not do what it was asked."""


class StoreUnavailable(StoreError):
    """A store did not answer. Whether a commit under way has landed is unknown; the core finds out and tries again."""


class LockTimeout(StoreError, TimeoutError):
    """A lock, or exclusive use, was not free in time. Nothing was written."""


class LeaseLost(SessileError):
    """A commit came after the lease of `session.exclusive()` had ended. Nothing was committed."""


class Missing(StoreError):
    """A store does not have all the entries of the range of a log that was asked for."""


class CorruptStore(StoreError):
    """What a store holds cannot be read as sessile's data.

    `user_id` says whose session it is, where that can still be read; None where it is not known.
    """

    def __init__(self, text: str, *, user_id: str | None = None) -> None:
        super().__init__(text)
        self.user_id = user_id


class StoreTooNew(StoreError):
    """A store was written by a newer version of sessile."""


class UnsafeFile(SessileError):
    """A file that is not a saved session of sessile's own format, a pickle for instance."""


class NotInstalled(SessileError, LookupError, ImportError):
    """A name that no installed plugin registers; the text names the command that installs it."""


class PluginError(SessileError):
    """A plugin's hook failed. `plugin` and `hook` name it; the cause is chained."""

    def __init__(self, plugin: str, hook: str, cause: BaseException | str) -> None:
        self.what = cause if isinstance(cause, str) else f"{type(cause).__name__}: {cause}"
        super().__init__(f"plugin {plugin!r} failed in hook {hook!r}: {self.what}")
        self.plugin = plugin
        self.hook = hook

    def __reduce__(self) -> tuple[type[PluginError], tuple[str, str, str]]:
        return type(self), (self.plugin, self.hook, self.what)  # without the cause, which may not go to another process


class ModelError(SessileError):
    """A model could not be loaded or did not answer."""


class TurnInterrupted(SessileError):
    """The reader of a stream went away: raised by `turn.emit` so that the model stops. What had arrived is kept."""
