"""What the plugin registers."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.add("embedder", "wordllama", "sessile_wordllama.embedder:WordLlamaEmbedder")
