"""What the plugin registers, and its part in a turn: memories come before the model is asked, and are made behind the turn."""

import sys

from sessile import hookimpl


@hookimpl
def register(registry):
    import sessile_memory.hooks

    registry.hooks(sessile_memory.hooks)
    registry.add("service", "memory", "sessile_memory.service:memory_of")
    registry.add("memory", "sqlite", "sessile_memory.memory:Memory")


@hookimpl
def recall(session, turn, room):
    if "memory" not in session.services:
        return None
    from sessile_memory.recall import recalled

    memory = session.memory
    window = turn.agent.window or 50
    return recalled(getattr(memory, "blocking", memory), session, turn.message.text, room, window)


@hookimpl
def on_agent_message(session):
    if "memory" not in session.services:
        return
    memory = session.memory
    memory = getattr(memory, "blocking", memory)
    if memory.auto_memory:
        session.spawn(memory.refresh)


@hookimpl
def on_session_delete(user_id, log):
    from sessile.store import home

    if (home() / "memory.db").exists() or "sessile_memory.opening" in sys.modules:  # else nothing was made of it
        from sessile_memory.erasing import erase

        erase(user_id, log)


@hookimpl
def register_commands(cli):
    from sessile_memory.commands import memory

    cli.add_command(memory)
