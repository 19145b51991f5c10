"""What the plugin registers."""

from sessile.hookspecs import hookimpl


@hookimpl
def register(registry):
    registry.add("model", "smollm", "sessile_smollm.model:SmolLM")
