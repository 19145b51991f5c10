"""What the plugin registers; its part in the turns of a session with a memory is in `turns.py`."""

import sys

from sessile import hookimpl


@hookimpl
def register(registry):
    import sessile_memory.hooks

    registry.hooks(sessile_memory.hooks)
    registry.add("service", "memory", "sessile_memory.service:memory_of", hooks="sessile_memory.turns")
    registry.add("memory", "sqlite", "sessile_memory.memory:Memory")


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
