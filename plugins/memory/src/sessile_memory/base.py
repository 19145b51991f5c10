"""What every memory can do, whether it belongs to a session or stands alone: the verbs, over the items that are visible in it."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs

from sessile.errors import InvalidInput
from sessile.plugins import Blocking, Plugins, installed, new_lock, run
from sessile.store import JSON, new_id, to_json
from sessile_memory.items import Item, check_kind, check_text
from sessile_memory.table import ADD, DELETE, UPDATE, MemoryTable, same
from sessile_retrieval import Span

logger = logging.getLogger("sessile")
_MORE = 50  # hits beyond those that are asked for, of which some may say the same
Scorer = Callable[[dict[str, Any]], float]
DAY = 86_400.0  # seconds
# The weights of a memory's quality, and after how many days half of its recency is gone.
RELEVANCE, RECENCY, IMPORTANCE, HALF_LIFE = 0.4, 0.3, 0.3, 30.0


def default_quality(item: dict[str, Any]) -> float:
    """0 to 1: 0.4 of relevance, 0.3 of recency and 0.3 of importance, of the item's metadata (0.5 where it says nothing)."""
    recency = _recency(float(item["timestamp"]))
    return RELEVANCE * item.get("relevance", 0.5) + RECENCY * recency + IMPORTANCE * item.get("importance", 0.5)


def _recency(at: float) -> float:
    return float(0.5 ** (max(0.0, time.time() - at) / DAY / HALF_LIFE))


class BaseMemory(ABC):
    """The verbs of a memory.

    user_id: whose it is. quality_threshold: below it nothing is stored. max_memories: over it, the least good go.
    """

    user_id: str

    def __init__(self, table: MemoryTable, *, quality_threshold: float | None = None, max_memories: int | None = None) -> None:
        if quality_threshold is not None and not _is_share(quality_threshold):
            raise InvalidInput(f"quality_threshold is {quality_threshold!r:.60}: pass a number from 0 to 1, or None")
        if max_memories is not None and (not isinstance(max_memories, int) or isinstance(max_memories, bool) or max_memories < 1):
            raise InvalidInput(f"max_memories is {max_memories!r:.60}: pass a number, 1 or more, or None")
        self.table = table
        self.quality_threshold = quality_threshold
        self.max_memories = max_memories
        self.scorer: Scorer | None = None
        self._lock = new_lock(reentrant=True)

    @abstractmethod
    def _spans(self) -> list[Span]:
        """Where what is visible in this memory is from, once that is up to date."""

    def _own_spans(self) -> list[Span]:
        """Of these, what goes with nothing but this memory: what is there already need not be added to it."""
        return self._spans()

    @abstractmethod
    def _record(self, kind: str, body: dict[str, JSON]) -> None:
        """Store an entry, and take it in."""

    def _plugins(self) -> Plugins:
        """Those that are asked what an item is worth."""
        return installed()

    def _checked(self, items: list[Item]) -> list[Item]:
        """Those whose evidence still says so."""
        return items

    # -- changing

    def add(self, text: str, *, kind: str = "long-term", metadata: Mapping[str, JSON] | None = None) -> Item | None:
        """Remember a text, durable when this returns. The item; None where its quality is below the threshold.

        kind: "short-term", "long-term", "user" or "entity". metadata: JSON values, of which "importance" and "relevance" (0 to 1)
        count in the default score. What is the same text as an item that there is, but for case and spaces, is that item.
        `InvalidInput` for what is no text, kind or metadata, and where a scorer fails: nothing is stored then.
        """
        text, kind = check_text(text), check_kind(kind)
        metadata = _metadata(metadata)
        quality = self._quality(text, kind, metadata)
        if self.quality_threshold is not None and quality is not None and quality < self.quality_threshold:
            logger.info("not remembered, as its quality is %.2f, below %s: %.80r", quality, self.quality_threshold, text)
            return None
        with self._lock:
            known = self.table.visible(self.user_id, self._own_spans(), "AND i.same = ? AND i.kind = ?", (same(text), kind))
            if known:
                return known[-1][1]
            body: dict[str, JSON] = {"id": new_id(), "text": text, "kind": kind, "origin": "hand", "metadata": metadata}
            self._record(ADD, {**body, "quality": quality})
            self._make_room()
        return self.get(str(body["id"]))

    def update(self, item_id: str, *, text: str | None = None, metadata: Mapping[str, JSON] | None = None) -> Item:
        """Say an item anew; `history` has what it said before. `InvalidInput` where there is none of this id."""
        with self._lock:
            item = self._there(item_id)
            text = item.text if text is None else check_text(text)
            about = item.metadata if metadata is None else _metadata(metadata)
            kind = item.kind if item.kind != "message" else "long-term"
            quality = self._quality(text, kind, about)
            body: dict[str, JSON] = {"id": item_id, "text": text, "kind": kind, "origin": item.origin, "metadata": about}
            self._record(UPDATE, {**body, "quality": quality})
        return self._there(item_id)

    def delete(self, item_id: str) -> None:
        """Take an item back. `InvalidInput` where there is none of this id."""
        with self._lock:
            self._there(item_id)
            self._record(DELETE, {"id": item_id, "reason": "deleted"})

    def _make_room(self) -> None:
        if self.max_memories is None:
            return
        there = [item for _, item in self.table.visible(self.user_id, self._spans(), "AND i.kind <> 'message'")]
        ranked = sorted(there, key=lambda item: (self._lasting(item), item.time))
        for item in ranked[: max(0, len(there) - self.max_memories)]:
            logger.info("dropped, as there is room for %d memories: %.80r", self.max_memories, item.text)
            self._record(DELETE, {"id": item.id, "reason": "dropped"})

    # -- reading

    def get(self, item_id: str) -> Item | None:
        """The item of an id; None where there is none."""
        found = self.table.visible(self.user_id, self._spans(), "AND i.id = ?", (item_id,))
        return found[-1][1] if found else None

    def all(self, *, kind: str | None = None) -> list[Item]:
        """All items (of a kind), oldest first."""
        there = {item.id: item for _, item in self.table.visible(self.user_id, self._spans())}  # copies have it once more
        return [item for item in there.values() if kind in (None, item.kind)]

    def history(self, item_id: str) -> list[Item]:
        """All that an item ever said in what counts, oldest first."""
        return [item for _, item in self.table.ever(self.user_id, self._spans(), "AND i.id = ?", (item_id,))]

    def search(
        self,
        query: str,
        limit: int = 10,
        *,
        filters: Mapping[str, JSON] | None = None,
        min_quality: float | None = None,
        at: float | None = None,
        near: float | None = None,
    ) -> list[Item]:
        """What has to do with a query, best first.

        filters: values that an item has, of "kind", "origin", or its metadata. min_quality: only items with that quality or more.
        at: only what was known then (seconds since 1970). near: the least cosine to the query of what has no word in common with
        it; None: the embedder's own. `InvalidInput` for a query without a word.
        """
        if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
            raise InvalidInput(f"limit is {limit!r:.60}: pass a number, 1 or more")
        spans = self._spans()
        among = self._among(spans, filters, min_quality, at)
        found = self.table.search(self.user_id, query, 4 * limit + _MORE, spans, among, near, at)
        marks = ", ".join("?" * len(found))
        rows = self.table.rows(self.user_id, f"AND i.passage IN ({marks})", [hit.id for hit in found])
        items = {passage: item for passage, _, _, item in rows}
        best: dict[str, Item] = {}  # by what it says: what says the same is one
        for hit in found:
            if hit.id in items:
                best.setdefault(same(items[hit.id].text), attrs.evolve(items[hit.id], score=hit.score))
        return self._checked([*best.values()][:limit])

    def _among(
        self, spans: Sequence[Span], filters: Mapping[str, JSON] | None, min_quality: float | None, at: float | None
    ) -> set[int] | None:
        if not filters and min_quality is None and at is None:
            return None
        if filters is not None and not isinstance(filters, Mapping):
            raise InvalidInput(f"filters is {filters!r:.60}: pass a dict, such as {{'kind': 'user'}}")
        wanted = dict(filters or {})
        return {
            row
            for row, item in self.table.visible(self.user_id, spans, at=at)
            if (min_quality is None or (item.quality or 0) >= min_quality)
            and (at is None or item.time <= at)
            and all(
                {"kind": item.kind, "origin": item.origin, **item.metadata}.get(name) == value for name, value in wanted.items()
            )
        }

    def export(self) -> list[dict[str, Any]]:
        """All items as JSON values, oldest first."""
        return [attrs.asdict(item, filter=lambda field, _: field.name != "score") for item in self.all()]

    def stats(self) -> dict[str, Any]:
        """How many items there are of each kind, the embedder's name, and how many texts it has not seen yet."""
        counts: dict[str, int] = {}
        for item in self.all():
            counts[item.kind] = counts.get(item.kind, 0) + 1
        embedder = self.table.index.embedder
        return {"items": counts, "embedder": embedder.name if embedder else None, "not_embedded": self.table.index.lacking()}

    def embed(self, limit: int | None = None) -> int:
        """Make the vectors that are lacking, at most so many; how many still are.

        Where the embedder fails, that is logged: texts are found by their words, and it is tried again later.
        """
        try:
            return self.table.index.embed(limit)
        except Exception as error:
            logger.warning("memories are found by their words only, as the embedder failed: %s", error)
            return self.table.index.lacking()

    # -- quality

    def set_quality_scorer(self, scorer: Scorer | None) -> None:
        """Score what is added by a function of yours; None: as before.

        It is given a dict: the item's metadata, and "text", "kind" and "timestamp" (seconds since 1970). It returns 0 to 1.
        """
        if scorer is not None and not callable(scorer):
            raise InvalidInput(f"scorer is {scorer!r:.60}: pass a function that returns 0 to 1")
        self.scorer = scorer

    def _quality(self, text: str, kind: str, metadata: Mapping[str, Any]) -> float | None:
        about = {**metadata, "text": text, "kind": kind, "timestamp": time.time()}
        if self.scorer is None:
            results = run(self._plugins().call(Blocking(), "score_memory", {"item": about}))
            said = [score for score in results if _is_share(score)]
            limited = self.quality_threshold is not None or self.max_memories is not None
            return sum(said) / len(said) if said else default_quality(about) if limited else None
        try:
            quality = self.scorer(about)
        except Exception as error:
            raise InvalidInput(f"the quality scorer failed on {text!r:.60}: {type(error).__name__}: {error}") from error
        if not _is_share(quality):
            raise InvalidInput(f"the quality scorer returned {quality!r:.60} for {text!r:.60}: it must be a number from 0 to 1")
        return float(quality)

    def _lasting(self, item: Item) -> float:
        """An item's quality now: as a scorer of one's own has said; else its share of recency fades with its age."""
        quality = item.quality or 0.0
        return quality if self.scorer is not None else quality - RECENCY * (1 - _recency(item.time))

    def _there(self, item_id: str) -> Item:
        item = self.get(item_id)
        if item is None:
            raise InvalidInput(
                f"there is no memory with the id {item_id!r:.60}: search() and all() have the ids of those there are"
            )
        return item


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _metadata(metadata: Any) -> dict[str, Any]:
    if metadata is None:
        return {}
    try:
        if isinstance(metadata, Mapping) and to_json(dict(metadata)):
            return dict(metadata)
    except (TypeError, ValueError):
        pass
    raise InvalidInput(f"metadata is {metadata!r:.80}: pass a dict of JSON values")
