"""The log: entries, numbered 0, 1, 2, … without holes.

A session is an append-only log of entries, and a small header, which is its folded view (see `header.py`). An entry names a
log by its depth among those that the session may read, never by its id, so that a copy has the same hashes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import attrs

from sessile.drive.locks import cached_property
from sessile.errors import CorruptStore
from sessile.log.encoding import JSON, from_json, quoted, to_json
from sessile.log.fields import Fields

MESSAGE, STATE, SNAPSHOT, REVERT, FORK = "message", "state", "snapshot", "revert", "fork"
CARRY_STATE = (STATE, REVERT, FORK)  # kinds of entries that say what the state is; a kind with a dot is a plugin's own


class Segment(NamedTuple):
    """The entries `start` (inclusive) to `stop` (exclusive; None: open) of the log at a depth of a header's `path`."""

    depth: int
    start: int
    stop: int | None = None


@attrs.frozen(kw_only=True, slots=False)  # without slots an instance is made in half the time
class Entry:
    """One line of a log.

    kind: "message", "state", "snapshot", "revert" or "fork", or a plugin's own, which has a dot; `body` holds what
    belongs to that kind. turn: id of the turn it belongs to, which is the id of the message that began it; None outside
    of turns. time: seconds since 1970 (UTC) by the writer's clock; for people only, the order is the position's.
    count: messages in the session up to and including this entry.
    base: position in this log of the last entry at or before this one that carries state; -1 for none.
    prev: hash of the entry before it in this log (see `hash`); "" for the first.
    raw: the original of a message that another framework wrote, text as it was; None for none.
    """

    position: int
    kind: str
    id: str
    time: float
    body: dict[str, Any]
    turn: str | None = None
    count: int = 0
    base: int = -1
    prev: str = ""
    raw: str | None = None
    extra: dict[str, Any] = attrs.field(factory=dict)

    @cached_property
    def json(self) -> str:
        """The entry as one line of canonical JSON: what a store keeps, and what is hashed."""
        usual = type(self.time) is float and type(self.position) is type(self.count) is type(self.base) is int
        if usual and not self.extra and self.time - self.time == 0:  # which is NaN for what JSON does not have
            try:
                return self._written()
            except TypeError:  # of a value that is no text, though it should be
                return to_json(self._plain())
        return to_json(self._plain())

    def _written(self) -> str:  # by hand, the keys in their order: this is on the path of every append
        base = f'"base":{self.base},' if self.base >= 0 else ""
        count = f'"count":{self.count},' if self.count else ""
        prev = f'"prev":{quoted(self.prev)},' if self.prev else ""
        raw = f'"raw":{quoted(self.raw)},' if self.raw is not None else ""
        turn = f',"turn":{quoted(self.turn)}' if self.turn is not None else ""
        return (
            f'{{{base}"body":{_body_as_json(self.body)},{count}"id":{quoted(self.id)},"kind":{quoted(self.kind)},'
            f'"position":{self.position},{prev}{raw}"time":{self.time!r}{turn}}}'
        )

    @cached_property
    def hash(self) -> str:
        """The first 128 bits of the SHA-256 of `json`, as 32 hexadecimal digits."""
        return hashlib.sha256(self.json.encode()).hexdigest()[:32]

    def _plain(self) -> dict[str, JSON]:
        data: dict[str, JSON] = {"position": self.position, "kind": self.kind, "id": self.id, "time": self.time}
        data["body"] = self.body
        if self.turn is not None:
            data["turn"] = self.turn
        if self.count:
            data["count"] = self.count
        if self.base >= 0:
            data["base"] = self.base
        if self.prev:
            data["prev"] = self.prev
        if self.raw is not None:
            data["raw"] = self.raw
        return {**self.extra, **data} if self.extra else data

    @classmethod
    def from_json(cls, text: str | bytes) -> Entry:
        """The entry that `json` wrote; `CorruptStore` where it is none."""
        try:
            data = from_json(text)
        except ValueError as error:
            raise CorruptStore(f"an entry is not JSON ({error}): restore a copy") from error
        return cls.from_dict(data)

    @classmethod
    def all_from_json(cls, texts: Sequence[str] | Sequence[bytes]) -> list[Entry]:
        """The entries that `json` wrote; `CorruptStore` where one is none. Faster than calling `from_json` for each."""
        try:
            found = from_json(_list_of(texts))
        except ValueError:
            found = []
        return [*map(_ENTRY.build, found)] if len(found) == len(texts) else [*map(cls.from_json, texts)]

    @classmethod
    def from_dict(cls, data: JSON) -> Entry:
        """The entry of these JSON values; `CorruptStore` where a field is missing or of a wrong type."""
        return _ENTRY.build(data)

    @classmethod
    def of_fields(cls, position: int, id: str, time: float, body: dict[str, Any], **more: Any) -> Entry:
        """The message of these values, whose types are known to be right: in half the time that a checked entry takes."""
        entry = object.__new__(cls)
        values = entry.__dict__
        values.update(_MESSAGE)
        values.update(more, position=position, id=id, time=time, body=body, extra={})
        return entry


def _body_as_json(body: dict[str, Any]) -> str:
    if len(body) == 2:  # nearly always: in half the time
        content, role = body.get("content"), body.get("role")
        if type(content) is type(role) is str:
            return f'{{"content":{quoted(content)},"role":{quoted(role)}}}'
    return to_json(body)


def _list_of(texts: Sequence[Any]) -> str | bytes:
    """The JSON list of values that are JSON already."""
    return b"[%b]" % b",".join(texts) if texts and isinstance(texts[0], bytes) else f"[{','.join(texts)}]"


_MESSAGE = {"kind": MESSAGE, "turn": None, "count": 0, "base": -1, "prev": "", "raw": None}
_ENTRY = Fields(Entry, "an entry", {"position": int, "kind": str, "id": str, "time": float, "body": dict})
