"""The metrics of a memory's text, each 0 to 1, by rules: no model is asked, and the same text always scores the same.

They say how much a text is worth keeping by its form only: whether it is true is for a judge, or for whoever corrects it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sessile.store import words

_ABOUT = frozenset(
    "i me my mine we our user users prefers prefer like likes love loves hate hates want wants need needs live lives work works "
    "name birthday allergic born married daughter son wife husband sister brother mother father friend plan plans goal always "
    "never favourite favorite speak speaks own owns moved moving".split()
)
_VAGUE = frozenset("it this that these those they thing things stuff something somehow someone there".split())
_HEDGES = frozenset("maybe perhaps probably possibly might guess suppose unsure apparently allegedly seems".split())
_FILLERS = frozenset("ok okay hi hello hey thanks thank bye yes no yeah hm lol great nice cool sure".split())
_ENOUGH, _MUCH = 6, 60  # words of a whole statement, and of one that says more than one thing


def completeness(item: Mapping[str, Any]) -> float:
    """Does it say something whole? Six words or more do, greetings do not; names, numbers and dates count."""
    said = words(item["text"])
    telling = [word for word in said if word not in _FILLERS]
    if not telling:
        return 0.0
    concrete = len(re.findall(r"\b[A-Z][a-z]+|\d+", item["text"]))
    return min(1.0, 0.8 * len(telling) / _ENOUGH + 0.1 * min(concrete, 2))


def relevance(item: Mapping[str, Any]) -> float:
    """Is it about a person? The item's own "relevance" where it has one; else whether it speaks of the user and what lasts."""
    if is_share(item.get("relevance")):
        return float(item["relevance"])
    about = sum(word in _ABOUT for word in words(item["text"]))
    return min(1.0, 0.3 + 0.35 * about)


def clarity(item: Mapping[str, Any]) -> float:
    """Can it be understood alone? Words that point at something that is not there, and sentences without end, cannot."""
    said = words(item["text"])
    if not said:
        return 0.0
    vague = sum(word in _VAGUE for word in said) / len(said)
    sentences = max(1, len(re.findall(r"[.!?]+(?:\s|$)", item["text"])))
    length = len(said) / sentences
    return max(0.0, 1 - 2 * vague - (0.3 if said[0] in _VAGUE else 0) - max(0.0, (length - 30) / _MUCH))


def accuracy(item: Mapping[str, Any]) -> float:
    """Is it stated as a fact? Hedges and questions are not; the item's own "confidence" counts where it has one."""
    if is_share(item.get("confidence")):
        return float(item["confidence"])
    said = words(item["text"])
    hedged = sum(word in _HEDGES for word in said)
    asked = item["text"].rstrip().endswith("?")
    return max(0.0, 1 - 0.3 * hedged - (0.6 if asked else 0))


METRICS: dict[str, Callable[[Mapping[str, Any]], float]] = {
    "completeness": completeness,
    "relevance": relevance,
    "clarity": clarity,
    "accuracy": accuracy,
}


def decayed(quality: float, age: float, half_life: float = 30.0) -> float:
    """A quality after some days: half of it is left after each half-life. age, half_life: in days."""
    return float(quality * 0.5 ** (max(0.0, age) / half_life))


def is_share(value: Any) -> bool:
    """Is this a number from 0 to 1?"""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
