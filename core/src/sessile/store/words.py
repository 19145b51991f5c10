"""The words of a text, as a search compares them, whatever store the text lies in."""

from __future__ import annotations

import re
import unicodedata

_ACCENT = re.compile("[\u0300-\u036f]")
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The runs of letters and digits in a text, in order, without case and accents: "Don't, Zoë!" is don, t and zoe."""
    if not text.isascii():
        text = unicodedata.normalize("NFD", text.casefold())
        text = unicodedata.normalize("NFC", _ACCENT.sub("", text))
    return _WORD.findall(text.casefold())
