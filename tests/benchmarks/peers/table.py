"""The table, in Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version

from tests.benchmarks.peers.contestants import Contestant
from tests.benchmarks.peers.measuring import Measured, Result

Kinds = Sequence[type[Contestant]]
TITLES = ("", "messages", "append of a pair", "last 50", "last 50, new handle", "whole, new handle", "bytes a message")


def table(kinds: Kinds, measured: Mapping[int, Sequence[Measured]]) -> str:
    """kinds: all, the floor first. measured: those that were, by the length of the session."""
    rows = [TITLES, ("---", *["---:"] * (len(TITLES) - 1))]
    for length, found in measured.items():
        results = {type(one.contestant): one.result for one in found}
        for number, kind in enumerate(kinds, 1):
            begin = (f"{_name(kind)} [^{number}]", f"{length:,}")
            rows.append((*begin, *_cells(results.get(kind), results[kinds[0]])))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _name(kind: type[Contestant]) -> str:
    return f"{kind.package}: {kind.title}" if kind.package else kind.title


def _cells(result: Result | None, floor: Result) -> list[str]:
    if result is None:
        return ["-"] * len(Result._fields)
    shown: list[Callable[[float], str]] = [duration, duration, duration, duration, lambda value: f"{value:,.0f}"]
    columns = zip(shown, result, floor, strict=True)
    return [f"{show(statistics.median(own))} ({_ratio(own, by_hand)})" for show, own, by_hand in columns]


def _ratio(own: Sequence[float], by_hand: Sequence[float]) -> str:
    ratio = statistics.median(a / b for a, b in zip(own, by_hand, strict=True))
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:,.0f}"


def duration(seconds: float) -> str:
    """With three digits that count, about."""
    for unit, size in (("µs", 1e-6), ("ms", 1e-3)):
        if seconds < 1000 * size:
            value = seconds / size
            return f"{value:.{0 if unit == 'µs' or value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    return f"{seconds:.2f} s"


def footnotes(kinds: Kinds, measured: Mapping[int, Sequence[Measured]]) -> str:
    """What each row is, and how durable: the settings are those of the connections that were measured."""
    asked = {type(one.contestant): one for found in measured.values() for one in found}
    return "\n".join(_footnote(number, kind, asked.get(kind)) for number, kind in enumerate(kinds, 1))


def _footnote(number: int, kind: type[Contestant], one: Measured | None) -> str:
    settings = f" {one.durability}." if one else ""
    name = f"{kind.package} {version(kind.package)}, {kind.title}" if kind.package else kind.title
    limit = f" Not measured (-) beyond {kind.most:,}: {kind.why}." if kind.most else ""
    return f"[^{number}]: {name}: {kind.about}.{settings}{limit}"
