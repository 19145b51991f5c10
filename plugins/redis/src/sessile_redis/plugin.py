"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("store", "redis", "sessile_redis.store:RedisSessionStore", aliases=("rediss", "redis+cluster", "rediss+cluster"))
