"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("store", "mongodb", "sessile_mongodb.store:MongoSessionStore", aliases=("mongodb+srv", "mongo"))
