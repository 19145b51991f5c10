"""Embedders: what makes a vector of a text, so that texts can be compared by what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sessile.errors import InvalidInput
from sessile.plugins import Plugins

Vectors = NDArray[np.float32]


class Embedder(Protocol):
    """Makes vectors of texts. A plugin registers one: `registry.add("embedder", "mine", "my_package:Mine")`.

    name: says which model it is, and changes when the vectors would; those of two names are never compared.
    dimension: of the vectors. near: the cosine from which on two texts have something to do with each other.
    """

    name: str
    dimension: int
    near: float

    def embed(self, texts: Sequence[str], *, query: bool = False) -> Any:
        """One vector a text: an array of (texts, dimension). query: they are questions, not passages."""
        ...


def find_embedder(embedder: Any, plugins: Plugins) -> Embedder:
    """An embedder: an instance as it is, or what plugins register under a name ("name" or "name:variant")."""
    if not isinstance(embedder, str):
        return check_embedder(embedder)
    base, _, variant = embedder.partition(":")
    registration = plugins.registry.find("embedder", base)
    if variant not in registration.made:
        with registration.lock:
            if variant not in registration.made:
                factory = registration.load()
                registration.made[variant] = check_embedder(factory(variant) if variant else factory())
    found: Embedder = registration.made[variant]
    return found


def check_embedder(embedder: Any) -> Embedder:
    """`InvalidInput` for what is no embedder."""
    dimension = getattr(embedder, "dimension", None)
    if not callable(getattr(embedder, "embed", None)) or not isinstance(getattr(embedder, "name", None), str):
        raise InvalidInput(f"{embedder!r:.80} is no embedder: pass an object with name, dimension and embed(texts, query=…)")
    if not isinstance(dimension, int) or isinstance(dimension, bool) or dimension < 1:
        raise InvalidInput(f"embedder {embedder.name!r} has the dimension {dimension!r}: it must be a positive number")
    checked: Embedder = embedder
    return checked


def vectors_of(embedder: Embedder, texts: Sequence[str], *, query: bool = False) -> Vectors:
    """The vectors of texts, of length 1. `InvalidInput` where an embedder returns anything else than it says."""
    made = np.asarray(embedder.embed(texts, query=query), dtype=np.float32)
    if made.shape != (len(texts), embedder.dimension):
        raise InvalidInput(
            f"embedder {embedder.name!r} made an array of {made.shape} for {len(texts)} texts: it must be "
            f"({len(texts)}, {embedder.dimension})"
        )
    if not np.isfinite(made).all():
        raise InvalidInput(f"embedder {embedder.name!r} made a vector with NaN or infinity in it: none of these is kept")
    length = np.linalg.norm(made, axis=1, keepdims=True)
    scaled: Vectors = made / np.where(length == 0, 1, length)
    return scaled
