"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("store", "postgres", "sessile_postgres.store:PostgresSessionStore", aliases=("postgresql",))
