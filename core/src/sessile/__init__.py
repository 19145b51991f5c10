"""sessile: conversations of LLM agents that stay. Every name is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessile.agent import Agent as Agent
    from sessile.agent import MemoryConfig as MemoryConfig
    from sessile.agent import Result as Result
    from sessile.agent import Runner as Runner
    from sessile.documents import SessionStore as SessionStore
    from sessile.hookspecs import hookimpl as hookimpl
    from sessile.log import Entry as Entry
    from sessile.log import Header as Header
    from sessile.manager import SessionManager as SessionManager
    from sessile.memory_store import MemorySessionStore as MemorySessionStore
    from sessile.messages import Message as Message
    from sessile.model import Request as Request
    from sessile.session import AsyncSession as AsyncSession
    from sessile.session import Session as Session
    from sessile.store import Page as Page
    from sessile.store import Query as Query
    from sessile.store import Store as Store
    from sessile.tools import Tool as Tool
    from sessile.tools import tool as tool
    from sessile.turn import Turn as Turn

_HOMES = {
    "Agent": "agent",
    "AsyncSession": "session",
    "Entry": "log",
    "Header": "log",
    "MemoryConfig": "agent",
    "MemorySessionStore": "memory_store",
    "Message": "messages",
    "Page": "store",
    "Query": "store",
    "Request": "model",
    "Result": "agent",
    "Runner": "agent",
    "Session": "session",
    "SessionManager": "manager",
    "SessionStore": "documents",
    "Store": "store",
    "Tool": "tools",
    "Turn": "turn",
    "hookimpl": "hookspecs",
    "tool": "tools",
}

__all__ = [
    *_HOMES,
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"sessile.{_HOMES[name]}"), name)
    elif name.startswith("_") or not name[0].isupper():
        raise AttributeError(f"module 'sessile' has no attribute {name!r}")
    else:  # a class that a plugin registers, such as SQLiteSessionStore
        from sessile.plugins import installed

        try:
            value = installed().registry.load_attribute(name)
        except AttributeError:
            raise AttributeError(f"module 'sessile' has no attribute {name!r}, and no plugin registers it") from None
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
