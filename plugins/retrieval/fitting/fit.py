"""Fits the weights of the ranking: `uv run python plugins/retrieval/fitting/fit.py`.

Each question's evidence should be among the first ten turns of its dialogue; the weights that bring most there are looked for
by gradient, none below 0. Prints them, and the recall of evidence before and after, on dialogues that
were not fitted to.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
from dialogues import Dialogue, make
from numpy.typing import NDArray

from sessile.plugins import installed
from sessile_retrieval import WEIGHTS, Database, Embedder, Index, Passage, Weights, find_embedder

_STEPS, _RATE, _AHEAD = 200, 0.05, 10
Signals = NDArray[np.float32]  # (turns, signals): z-scores


def signals_of(dialogue: Dialogue, embedder: Embedder) -> list[tuple[Signals, list[int]]]:
    """For each question: the standardized signals of every turn, and the evidence."""
    index = Index(Database(), embedder)
    ids = index.add(
        Passage("user", f"session-{turn.session}", place, turn.text, speaker=turn.speaker)
        for place, turn in enumerate(dialogue.turns)
    )
    index.embed()
    return [(index.signals("user", question.text, ids), question.evidence) for question in dialogue.questions]


def fitted(questions: Sequence[tuple[Signals, list[int]]]) -> NDArray[np.float64]:
    """The weights under which most evidence is ahead of the tenth of the other turns; by Adam (Kingma and Ba 2015)."""
    weights = np.ones(len(Weights._fields))
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, _STEPS + 1):
        slope = np.mean([_slope(weights, signals, row) for signals, evidence in questions for row in evidence], axis=0)
        mean, square = 0.9 * mean + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        move = mean / (1 - 0.9**step) / (np.sqrt(square / (1 - 0.99**step)) + 1e-9)
        weights = np.maximum(weights + _RATE * (1 - step / _STEPS) * move, 0)
    return weights * len(weights) / weights.sum()


def _slope(weights: NDArray[np.float64], signals: Signals, row: int) -> NDArray[np.float64]:
    """How the chance that a row is ahead of the tenth other one grows with each weight: it counts most where they are close."""
    score = signals @ weights
    others = np.delete(np.arange(len(score)), row)
    rival = others[np.argpartition(-score[others], _AHEAD - 1)[_AHEAD - 1]]
    ahead = 1 / (1 + np.exp(np.clip(score[rival] - score[row], -50, 50)))
    slope: NDArray[np.float64] = ahead * (1 - ahead) * (signals[row] - signals[rival]).astype(np.float64)
    return slope


def recall(questions: Sequence[tuple[Signals, list[int]]], weights: Sequence[float], k: int = 10) -> float:
    """The share of the evidence that is among the first k turns, averaged over the questions."""
    found = []
    for signals, evidence in questions:
        best = np.argsort(-(signals @ np.asarray(weights)), kind="stable")[:k]
        found.append(len({*best.tolist()} & {*evidence}) / len(evidence))
    return float(np.mean(found))


def main(*names: str) -> None:
    """Fit one set of weights for the embedders of these names."""
    fit, held_out = (
        [each for name in names for seed in seeds for each in signals_of(make(seed), find_embedder(name, installed()))]
        for seeds in (range(12), range(100, 106))
    )
    weights = fitted(fit)
    print(f"{' and '.join(names)}: {len(fit)} questions, and {len(held_out)} that are not fitted to")
    print(Weights(*(round(float(weight), 2) for weight in weights)))
    for title, some in (("fitted", [*weights]), ("in use", WEIGHTS), ("words only", [1, 0, 0, 0, 0])):
        print(f"{title:12} recall@10 {recall(held_out, some):.3f}   recall@1 {recall(held_out, some, 1):.3f}")


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["wordllama", "minilm"]))
