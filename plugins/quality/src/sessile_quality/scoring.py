"""`Quality`, a scorer of memories made of metrics, and `QualityFilter`, which keeps the good ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sessile.errors import InvalidInput
from sessile_quality.metrics import METRICS, decayed, is_share

IMPORTANCE = 0.3  # what it counts where an item has one
_DAY = 86_400.0  # seconds


class Quality:
    """A scorer: the weighted mean of completeness, relevance, clarity and accuracy, 0 to 1, for `memory.set_quality_scorer`.

    An item's own "importance" (0 to 1), where it has one, counts for three tenths of that. weights: by metric; equal by default,
    those that are left out count nothing. half_life: days after which half of the score is gone, by the item's "timestamp"; None:
    it does not fade. `InvalidInput` for other metrics and weights.
    """

    def __init__(self, weights: Mapping[str, float] | None = None, *, half_life: float | None = None) -> None:
        self.weights = dict.fromkeys(METRICS, 1.0) if weights is None else dict(weights)
        unknown = [name for name in self.weights if name not in METRICS]
        if unknown:
            raise InvalidInput(f"weights has {', '.join(map(repr, unknown))}: the metrics are {', '.join(METRICS)}")
        if not all(_is_weight(weight) for weight in self.weights.values()) or not sum(self.weights.values()):
            raise InvalidInput(f"weights is {self.weights!r:.100}: pass numbers, 0 or more, not all of them 0")
        if half_life is not None and (not _is_weight(half_life) or not half_life):
            raise InvalidInput(f"half_life is {half_life!r:.60}: pass a number of days above 0, or None")
        self.half_life = half_life

    def metrics(self, item: Mapping[str, Any] | str) -> dict[str, float]:
        """Each metric of an item (a dict with "text" and more), or of a text."""
        about = _about(item)
        return {name: METRICS[name](about) for name in self.weights}

    def __call__(self, item: Mapping[str, Any] | str) -> float:
        about = _about(item)
        found = self.metrics(about)
        score = sum(self.weights[name] * value for name, value in found.items()) / sum(self.weights.values())
        if is_share(about.get("importance")):
            score += IMPORTANCE * (float(about["importance"]) - score)
        if self.half_life is None:
            return score
        return decayed(score, (time.time() - float(about.get("timestamp", time.time()))) / _DAY, self.half_life)


class QualityFilter:
    """Keeps what is good enough: `QualityFilter(0.7).keep(items)`.

    threshold: 0 to 1. scorer: a function of an item's dict, or a `Quality`; by default that with equal weights.
    """

    def __init__(self, threshold: float = 0.5, scorer: Callable[[dict[str, Any]], float] | None = None) -> None:
        if not is_share(threshold):
            raise InvalidInput(f"threshold is {threshold!r:.60}: pass a number from 0 to 1")
        if scorer is not None and not callable(scorer):
            raise InvalidInput(f"scorer is {scorer!r:.60}: pass a function that returns 0 to 1")
        self.threshold = threshold
        self.scorer: Callable[[dict[str, Any]], float] = scorer or Quality()

    def __call__(self, item: Any) -> bool:
        return self.scorer(_about(item)) >= self.threshold

    def keep(self, items: Iterable[Any]) -> list[Any]:
        """Those of these items (of a memory, dicts or texts) that are good enough, in their order."""
        return [item for item in items if self(item)]


def _about(item: Any) -> dict[str, Any]:
    if isinstance(item, str):
        return {"text": item}
    if isinstance(item, Mapping) and isinstance(item.get("text"), str):
        return dict(item)
    text = getattr(item, "text", None)
    if isinstance(text, str):
        about = getattr(item, "metadata", None)
        return {**(about or {}), "text": text, "timestamp": getattr(item, "time", time.time())}
    raise InvalidInput(f"{item!r:.80} is nothing to score: pass an item of a memory, a dict with a text, or a text")


def _is_weight(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < float("inf")
