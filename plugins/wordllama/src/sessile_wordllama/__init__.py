"""The light embedder of sessile: a table of word vectors."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["WordLlamaEmbedder"]
if TYPE_CHECKING:
    from sessile_wordllama.embedder import WordLlamaEmbedder as WordLlamaEmbedder
else:
    __getattr__ = lazily(__name__, WordLlamaEmbedder="embedder")
