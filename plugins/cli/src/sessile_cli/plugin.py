"""The command line's own commands, which are added by the same hook as everybody else's."""

from sessile import hookimpl


@hookimpl
def register(registry):
    import sessile_cli.hooks

    registry.hooks(sessile_cli.hooks)


@hookimpl(tryfirst=True)
def register_commands(cli):
    import sessile_cli.graph  # (this and the next add their commands to `session`)
    import sessile_cli.log  # noqa: F401
    from sessile_cli.chat import chat
    from sessile_cli.packages import install, uninstall
    from sessile_cli.reports import doctor, plugins
    from sessile_cli.search import search
    from sessile_cli.sessions import session
    from sessile_cli.stores import copy, migrate

    for command in (chat, session, search, plugins, install, uninstall, doctor, copy, migrate):
        cli.add_command(command)
