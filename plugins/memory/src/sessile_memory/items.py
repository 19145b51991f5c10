"""What is remembered: an item, and the place in a log that it is from."""

from __future__ import annotations

import hashlib
from typing import Any

import attrs

from sessile.errors import InvalidInput

KINDS = ("short-term", "long-term", "user", "entity")
EMBEDDER = "wordllama"  # that is used where none is named
CONVERSATIONS = (26, 30, 41, 42, 43)  # of LoCoMo, that recall is measured on: the others are for others to measure
MESSAGE = "message"  # the kind of an item that is the text of a message


@attrs.frozen
class Evidence:
    """Where an item is from: an entry of a log, the characters of its text, and their hash, by which it is checked when recalled.

    session_id: of a session that reads the log. log: "" for what was added to a memory without a session.
    """

    session_id: str
    log: str
    position: int
    start: int
    stop: int
    hash: str

    def fits(self, text: str) -> bool:
        """Does the text of that entry still say so?"""
        return hash_of(text[self.start : self.stop]) == self.hash


@attrs.frozen
class Item:
    """Something that is remembered; `str(item)` is its text.

    id: the same wherever the item is made from the log anew, or from a copy of it. kind: "short-term", "long-term", "user",
    "entity", or "message" for the text of a message. origin: who it is from: "user", "assistant", "tool", "system", or "hand" for
    what was added by a call. time: seconds since 1970 (UTC). quality: 0 to 1; None where nobody scored it. score: by which a
    search ranks it.
    """

    id: str
    text: str
    kind: str
    user_id: str
    origin: str
    time: float
    metadata: dict[str, Any] = attrs.field(factory=dict)
    quality: float | None = None
    evidence: Evidence | None = None
    score: float | None = None

    def __str__(self) -> str:
        return self.text


def hash_of(text: str) -> str:
    """The hash of a text, as evidence keeps it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def item_id(message_id: str, maker: str) -> str:
    """The id of an item that is made of a message: by what, so that making it twice makes it once, in copies, too."""
    return hash_of(f"{message_id}\n{maker}")[:20]


def check_kind(kind: Any) -> str:
    """`InvalidInput` for what is no kind of memory."""
    if kind not in KINDS:
        raise InvalidInput(f"kind is {kind!r:.60}: use one of {', '.join(KINDS)}")
    return str(kind)


def check_text(text: Any) -> str:
    """`InvalidInput` for what is no text to remember."""
    if not isinstance(text, str) or not text.strip():
        raise InvalidInput(f"text is {text!r:.60}: a memory is a text that says something")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(f"text cannot be stored: {error}") from error
    return text
