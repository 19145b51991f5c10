"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("store", "file", "sessile_file.store:FileSessionStore")
