"""sessile: conversations of LLM agents that stay. Every name is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sessile.conversation.messages import Message as Message
    from sessile.conversation.messages import Role as Role
    from sessile.conversation.messages import ToolCall as ToolCall
    from sessile.conversation.model import Request as Request
    from sessile.conversation.model import Usage as Usage
    from sessile.conversation.taking import MessageLike as MessageLike
    from sessile.conversation.tools import Tool as Tool
    from sessile.conversation.tools import tool as tool
    from sessile.conversation.turn import Turn as Turn
    from sessile.engine.history import Committed as Committed
    from sessile.engine.state import Policy as Policy
    from sessile.graph.changes import Changes as Changes
    from sessile.graph.changes import Span as Span
    from sessile.graph.integrity import Verification as Verification
    from sessile.graph.merging import Diff as Diff
    from sessile.graph.points import Point as Point
    from sessile.graph.points import Snapshot as Snapshot
    from sessile.log.entries import Entry as Entry
    from sessile.log.header import Header as Header
    from sessile.log.ids import encode_id as encode_id
    from sessile.plugins.hookspecs import hookimpl as hookimpl
    from sessile.plugins.middleware import Middleware as Middleware
    from sessile.session import AsyncSession as AsyncSession
    from sessile.session import Session as Session
    from sessile.session.adapters import AdapterFace as AdapterFace
    from sessile.session.adapters import both_faces as both_faces
    from sessile.session.agents.agent import Agent as Agent
    from sessile.session.agents.agent import AnyAgent as AnyAgent
    from sessile.session.agents.agent import AsyncAgent as AsyncAgent
    from sessile.session.agents.config import MemoryConfig as MemoryConfig
    from sessile.session.agents.runner import Result as Result
    from sessile.session.agents.runner import Runner as Runner
    from sessile.session.live.exclusive import Lease as Lease
    from sessile.session.live.remote import RemoteHandle as RemoteHandle
    from sessile.session.managing.manager import AsyncSessionManager as AsyncSessionManager
    from sessile.session.managing.manager import SessionManager as SessionManager
    from sessile.session.managing.searching import Hit as Hit
    from sessile.store.documents import SessionStore as SessionStore
    from sessile.store.memory import MemorySessionStore as MemorySessionStore
    from sessile.store.opening import StoreLike as StoreLike
    from sessile.store.waist import Page as Page
    from sessile.store.waist import Query as Query
    from sessile.store.waist import Store as Store
    from sessile.transfer.copying import Report as Report
    from sessile.transfer.copying import copy_store as copy_store

    # what plugins register, for type checkers: a name whose plugin is not installed is `Any` to them
    from sessile_file import FileSessionStore as FileSessionStore
    from sessile_memory import Memory as Memory
    from sessile_minilm import MiniLMEmbedder as MiniLMEmbedder
    from sessile_mongodb import MongoSessionStore as MongoSessionStore
    from sessile_openai import OpenAIModel as OpenAIModel
    from sessile_postgres import PostgresSessionStore as PostgresSessionStore
    from sessile_quality import Judge as Judge
    from sessile_quality import Quality as Quality
    from sessile_quality import QualityFilter as QualityFilter
    from sessile_redis import RedisSessionStore as RedisSessionStore
    from sessile_smollm import SmolLM as SmolLM
    from sessile_sqlite import SQLiteSessionStore as SQLiteSessionStore
    from sessile_wordllama import WordLlamaEmbedder as WordLlamaEmbedder

_HOMES = {
    "AdapterFace": "session.adapters",
    "Agent": "session.agents.agent",
    "AnyAgent": "session.agents.agent",
    "AsyncAgent": "session.agents.agent",
    "AsyncSession": "session",
    "AsyncSessionManager": "session.managing.manager",
    "Changes": "graph.changes",
    "Committed": "engine.history",
    "Diff": "graph.merging",
    "Entry": "log.entries",
    "Header": "log.header",
    "Hit": "session.managing.searching",
    "Lease": "session.live.exclusive",
    "MemoryConfig": "session.agents.config",
    "MemorySessionStore": "store.memory",
    "Message": "conversation.messages",
    "MessageLike": "conversation.taking",
    "Middleware": "plugins.middleware",
    "Page": "store.waist",
    "Point": "graph.points",
    "Policy": "engine.state",
    "Query": "store.waist",
    "RemoteHandle": "session.live.remote",
    "Report": "transfer.copying",
    "Request": "conversation.model",
    "Result": "session.agents.runner",
    "Role": "conversation.messages",
    "Runner": "session.agents.runner",
    "Session": "session",
    "SessionManager": "session.managing.manager",
    "SessionStore": "store.documents",
    "Snapshot": "graph.points",
    "Span": "graph.changes",
    "Store": "store.waist",
    "StoreLike": "store.opening",
    "Tool": "conversation.tools",
    "ToolCall": "conversation.messages",
    "Turn": "conversation.turn",
    "Usage": "conversation.model",
    "Verification": "graph.integrity",
    "both_faces": "session.adapters",
    "copy_store": "transfer.copying",
    "encode_id": "log.ids",
    "hookimpl": "plugins.hookspecs",
    "tool": "conversation.tools",
}

if not TYPE_CHECKING:  # who reads the imports above knows them
    __all__ = [*_HOMES]


if not TYPE_CHECKING:  # so that a checker finds a misspelt name

    def __getattr__(name: str) -> Any:
        if name in _HOMES:
            value = getattr(import_module(f"sessile.{_HOMES[name]}"), name)
        elif name.startswith("_") or not name[0].isupper():
            raise AttributeError(f"module 'sessile' has no attribute {name!r}")
        else:  # a class that a plugin registers, such as SQLiteSessionStore
            from sessile.plugins.discovery import installed

            try:
                value = installed().registry.load_attribute(name)
            except AttributeError:
                raise AttributeError(f"module 'sessile' has no attribute {name!r}, and no plugin registers it") from None
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
