"""What the plugin registers."""

from sessile.hookspecs import hookimpl


@hookimpl
def register(registry):
    registry.add("store", "file", "sessile_file.store:FileSessionStore")
