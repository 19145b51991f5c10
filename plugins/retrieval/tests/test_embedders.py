"""The embedders that need no server: what their vectors say, and that they ask nobody."""

from __future__ import annotations

import socket
from typing import Any

import numpy as np
import pytest

from sessile.plugins import installed
from sessile_retrieval import Database, Index, Passage, find_embedder

NAMES = ("wordllama", "minilm")


@pytest.mark.parametrize("name", NAMES)
def test_what_means_the_same_is_near_and_nothing_is_asked_for_online(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("it opened a connection")

    monkeypatch.setattr(socket, "socket", refuse)
    embedder = find_embedder(name, installed())
    assert embedder is find_embedder(name, installed())
    cat, kitten, tax = np.asarray(embedder.embed(["My cat sleeps on the sofa", "A kitten is asleep", "The tax form is late"]))
    assert cat @ kitten > cat @ tax
    (again,) = np.asarray(embedder.embed(["My cat sleeps on the sofa"]))
    assert np.allclose(again, cat, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_odd_texts_have_vectors(name: str) -> None:
    index = Index(Database(), find_embedder(name, installed()))
    texts = ["", " ", "word " * 50_000, "猫が好き", "\N{SNOWMAN}", "a\x00b", "\ud800".encode("utf-8", "replace").decode()]
    index.add(Passage("ann", "s", place, text) for place, text in enumerate(texts))
    assert index.embed() == 0
