"""The better embedder of sessile: all-MiniLM-L6-v2."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["MiniLMEmbedder"]
if TYPE_CHECKING:
    from sessile_minilm.embedder import MiniLMEmbedder as MiniLMEmbedder
else:
    __getattr__ = lazily(__name__, MiniLMEmbedder="embedder")
