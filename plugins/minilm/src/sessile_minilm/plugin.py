"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("embedder", "minilm", "sessile_minilm.embedder:MiniLMEmbedder")
