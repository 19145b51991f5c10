"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("store", "sqlite", "sessile_sqlite.store:SQLiteSessionStore")
