"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("model", "smollm", "sessile_smollm.model:SmolLM")
