"""`Runner`: an agent's answer to one message, with nothing stored."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from sessile.conversation.messages import Message
from sessile.drive.arguments import checked_class
from sessile.log.encoding import JSON
from sessile.session.agents.agent import AnyAgent
from sessile.session.asynchronous import AsyncSession
from sessile.session.blocking import Session
from sessile.store.memory import MemorySessionStore


@attrs.frozen
class Result:
    """What `Runner` returns: `final_output` is the reply's text, `messages` the whole conversation."""

    final_output: str
    messages: list[Message]


@checked_class
class Runner:
    """Runs an agent once over a given history, storing nothing."""

    @staticmethod
    def run(agent: AnyAgent, message: JSON, *, history: Iterable[Any] = ()) -> Result:
        """Ask an agent. history: messages, or dicts with role and content."""
        with Session(store=MemorySessionStore(), agent=agent) as session:
            session.set_history(history)
            return Result(session.chat(message, agent=agent), session.get_history())

    @staticmethod
    async def run_async(agent: AnyAgent, message: JSON, *, history: Iterable[Any] = ()) -> Result:
        """As `run`, awaited."""
        async with AsyncSession(store=MemorySessionStore(), agent=agent) as session:
            await session.set_history(history)
            return Result(await session.chat(message, agent=agent), await session.get_history())
