"""How passages are ranked: five signals, each over all passages that may be found, as z-scores, and a weight for each.

Scores are added, never ranks: those of words and of meaning tell how far ahead a passage is, which its rank does not. A passage
that stands in a conversation is found by its neighbours, too: the answer seldom repeats the words of the question before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Scores = NDArray[np.float32]
Rows = NDArray[np.int64]
REACH = 3  # neighbours on each side that count


class Weights(NamedTuple):
    """What each signal counts. `fitting/fit.py` beside this package fits them to dialogues that it makes."""

    words: float = 1.1  # BM25 of the passage
    around: float = 1.25  # of the passage and its neighbours, each word once, wherever it is said most
    meaning: float = 0.65  # cosine to the query
    meaning_around: float = 0.95  # of its neighbours, the nearest most
    speaker: float = 1.05  # is it said by whom the query names?


WEIGHTS = Weights()
_FADING = 0.6  # of a neighbour's meaning with each step


class Neighbours:
    """Who stands beside whom. before, behind: the row next to each, or the number of rows where there is none."""

    def __init__(self, before: Rows, behind: Rows) -> None:
        self.count = len(before)
        self._steps = [*_steps(before), *_steps(behind)]

    def best(self, rows: Rows, scores: Scores) -> Scores:
        """The best score of each row and its neighbours, of a few rows that have one."""
        best = np.zeros(self.count + 1, np.float32)
        best[rows] = scores
        for step in self._steps:  # who is the neighbour of one is so the other way round
            beside = step[rows]
            best[beside] = np.maximum(best[beside], scores)
        return best[: self.count]

    def sum(self, scores: Scores) -> Scores:
        """The sum of the neighbours' scores, which fade with the distance."""
        known = np.append(scores, np.float32(0))
        total = np.zeros(self.count, np.float32)
        for index, step in enumerate(self._steps):
            distance = index % REACH
            if distance < 2:
                total += np.float32(_FADING**distance) * known[step]
        return total


def _steps(beside: Rows) -> list[Rows]:
    """The rows at one, two and three steps in a direction."""
    chain = np.append(beside, len(beside))
    steps = [beside]
    while len(steps) < REACH:
        steps.append(chain[steps[-1]])
    return steps


def standardized(scores: Scores) -> Scores:
    """z-scores; zeros where all are the same, and for what is not known (NaN)."""
    known = scores[~np.isnan(scores)]
    deviation = known.std() if len(known) else 0
    if not deviation > 1e-9:
        return np.zeros_like(scores)
    found: Scores = np.nan_to_num((scores - known.mean()) / deviation)
    return found


def combined(signals: Sequence[Scores | None], weights: Weights = WEIGHTS) -> Scores:
    """The sum of the weighted z-scores of what there is."""
    there = [weight * standardized(signal) for weight, signal in zip(weights, signals, strict=True) if signal is not None]
    total: Scores = np.sum(there, axis=0, dtype=np.float32)
    return total
