"""How much of what answers a question is recalled, on LoCoMo (Maharana et al. 2024, https://github.com/snap-research/locomo).

The data set is not ours to ship: `sessile memory eval PATH` reads `data/locomo10.zip`, or a folder with its files. Each session
of a conversation becomes a session, each turn a message; then `session.memory.search` is asked each question, as a user would.
"""

from __future__ import annotations

import calendar
import json
import random
import re
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sessile import MemorySessionStore, Session
from sessile.errors import InvalidInput

CATEGORIES = {1: "multi-hop", 2: "temporal", 3: "open-domain", 4: "single-hop"}
_DEPTHS = (5, 10, 20)
_MONTHS = "january february march april may june july august september october november december".split()
_WHEN = re.compile(r"(\d+):(\d+) (am|pm) on (\d+) (\w+), (\d{4})")
_TURN = re.compile(r"D(\d+):(\d+)")


class Answered(NamedTuple):
    """A question: of which conversation and category, and where its evidence came in the order of what was recalled."""

    conversation: int
    category: int
    question: str
    places: list[int | None]

    def share(self, depth: int) -> float:
        """The share of its evidence that is among the first so many."""
        return sum(place is not None and place < depth for place in self.places) / len(self.places)


def conversations(path: Path, numbers: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """The conversations of these numbers in LoCoMo's zip file or a folder; the others are not opened."""
    try:
        for number in numbers:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as packed:
                    name = next(name for name in packed.namelist() if name.endswith(f"/{number}.json"))
                    yield number, json.loads(packed.read(name))
            else:
                yield number, json.loads(next(path.rglob(f"{number}.json")).read_text())
    except (StopIteration, OSError, ValueError) as error:
        raise InvalidInput(
            f"{path} has no conversation {number}: pass LoCoMo's data/locomo10.zip, or a folder with it"
        ) from error


def answered(number: int, conversation: dict[str, Any], embedder: str | None) -> Iterator[Answered]:
    """Ask a memory all questions of a conversation whose evidence is known, those of categories 1 to 4."""
    store, turns = MemorySessionStore(), set()
    for session in range(1, 1 + max(int(name.split("_")[1]) for name in conversation if re.fullmatch(r"session_\d+", name))):
        said = [*_messages(conversation, session)]
        turns |= {message["metadata"]["turn"] for message in said}
        if said:
            Session(f"session-{session}", user_id="both", store=store).add_messages(said)
    config = {"use_embedding": False} if embedder is None else {"embedder": embedder}
    with Session("asking", user_id="both", store=store, memory={"auto_memory": True, "config": config}) as asking:
        asking.search_memory("everything")  # takes all in
        asking.memory.embed()
        for asked in conversation["qa"]:
            evidence = {f"D{int(s)}:{int(t)}" for s, t in _TURN.findall(" ".join(asked.get("evidence", ())))} & turns
            if asked["category"] in CATEGORIES and evidence:
                found = [item.metadata.get("turn") for item in asking.search_memory(asked["question"], max(_DEPTHS))]
                places = [found.index(turn) if turn in found else None for turn in sorted(evidence)]
                yield Answered(number, asked["category"], asked["question"], places)


def _messages(conversation: dict[str, Any], session: int) -> Iterator[dict[str, Any]]:
    at = _time(conversation.get(f"session_{session}_date_time", ""))
    for turn in conversation.get(f"session_{session}", ()):
        text = " ".join(filter(None, (turn["text"], turn.get("blip_caption"), turn.get("query"))))
        role = "user" if turn["speaker"] == conversation["speaker_a"] else "assistant"
        about = {"turn": turn["dia_id"], "name": turn["speaker"]}
        yield {"role": role, "content": text, "metadata": about, "timestamp": at}


def _time(text: str) -> float:
    found = _WHEN.search(text)
    if found is None:
        return 0.0
    hour, minute, half, day, month, year = found.groups()
    hours = int(hour) % 12 + (12 if half == "pm" else 0)
    return float(calendar.timegm((int(year), 1 + _MONTHS.index(month.lower()), int(day), hours, int(minute), 0)))


def report(results: Sequence[Answered]) -> list[list[str]]:
    """Rows of a table: mean share of the evidence at each depth, all of it at 10, and the interval of the mean at 10."""
    rows = []
    for name, some in [("all", results), *((title, [r for r in results if r.category == c]) for c, title in CATEGORIES.items())]:
        if some:
            shares = [f"{_mean([r.share(depth) for r in some]):.3f}" for depth in _DEPTHS]
            whole = _mean([float(r.share(10) == 1) for r in some])
            low, high = _interval(some)
            rows.append([name, str(len(some)), *shares, f"{whole:.3f}", f"{low:.3f} to {high:.3f}"])
    return rows


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _interval(results: Sequence[Answered]) -> tuple[float, float]:
    """95 % of what the mean at 10 is where whole conversations are drawn again, with replacement, 2,000 times (Efron 1979)."""
    groups = [[r.share(10) for r in results if r.conversation == number] for number in {r.conversation for r in results}]
    chance = random.Random(1)
    means = sorted(_mean([share for group in chance.choices(groups, k=len(groups)) for share in group]) for _ in range(2000))
    return means[50], means[-51]
