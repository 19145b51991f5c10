"""A text's vector is the mean of its tokens' vectors, from a table of 32,000 that ships in the package `wordllama`.

The table and its tokenizer are read as the files that they are: importing that package takes a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from sessile.errors import NotInstalled
from sessile.plugins import new_lock

_TABLE, _TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"


class WordLlamaEmbedder:
    """The light embedder: some 10,000 messages a second on one core, no key, no server, no download. Vectors have 256 numbers."""

    dimension = 256
    near = 0.3

    def __init__(self) -> None:
        spec = find_spec("wordllama")
        folder = Path(spec.origin or "").parent if spec else None
        if folder is None or not (folder / _TABLE).exists() or not (folder / _TOKENIZER).exists():
            raise NotInstalled("the word vectors are not installed. Try: pip install 'wordllama>=0.4'")
        self.name = f"wordllama-l2-256-{version('wordllama')}"
        self._folder = folder
        self._lock = new_lock()
        self._loaded: tuple[Any, Any] | None = None

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        """One vector a text. The longest text that counts has some 2,000 words; of a longer one, the beginning does."""
        table, tokenizer = self._load()
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, found in zip(vectors, tokenizer.encode_batch(list(texts), add_special_tokens=False), strict=True):
            if found.ids:
                row[:] = table[found.ids].mean(axis=0)
        return vectors

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                tokenizer = Tokenizer.from_file(str(self._folder / _TOKENIZER))
                tokenizer.no_padding()
                tokenizer.enable_truncation(4096)
                self._loaded = load_file(self._folder / _TABLE)["embedding.weight"].astype(np.float32), tokenizer
            return self._loaded
