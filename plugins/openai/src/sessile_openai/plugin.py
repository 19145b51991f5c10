"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("model", "openai", "sessile_openai.model:OpenAIModel")
