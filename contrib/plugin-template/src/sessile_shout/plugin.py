"""The hooks. Keep this module light: it is imported whenever sessile looks for plugins."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("model", "parrot", "sessile_shout.parrot:Parrot")


@hookimpl
def middleware(session):
    return shout


def shout(turn, call_next):
    """Every reply ends loudly."""
    return call_next(turn).content + "!"


@hookimpl
def register_commands(cli):
    import click

    @cli.command()
    @click.argument("text")
    def shout(text):
        """Say something loudly."""
        click.echo(f"{text.upper()}!")
