"""The part of a memory in a turn: memories come before the model is asked, and are made behind the turn."""

from __future__ import annotations

from sessile import Message, Session, Turn, hookimpl
from sessile.plugins import Room
from sessile_memory.recall import recalled
from sessile_memory.service import SessionMemory


@hookimpl
def recall(session: Session, turn: Turn, room: Room) -> list[Message]:
    return recalled(_memory_of(session), session, turn.message.text, room, turn.agent.window or 50)


@hookimpl
def on_agent_message(session: Session) -> None:
    memory = _memory_of(session)
    if memory.auto_memory:
        session.spawn(memory.refresh)


def _memory_of(session: Session) -> SessionMemory:
    """The memory for code that cannot await."""
    memory = session.memory
    found: SessionMemory = getattr(memory, "blocking", memory)
    return found
