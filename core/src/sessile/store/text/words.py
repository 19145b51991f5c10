"""What a word is: the same in every store's index, and where a text is compared without one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_ACCENT = re.compile("[\u0300-\u036f]")
_WORD = re.compile(r"[^\W_]+")
_RUN = re.compile("[^\\W_](?:[^\\W_]|[\u0300-\u036f])*")  # a word with its accents, as it stands in a text


def words(text: str) -> list[str]:
    """The words of a text, as a search compares them: its runs of letters and digits, in order, without case and accents.

    "Don't, Zoë!" is don, t and zoe.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFD", text.casefold())
        text = unicodedata.normalize("NFC", _ACCENT.sub("", text))
    return _WORD.findall(text.casefold())


def located(text: str) -> Iterator[tuple[str, int, int]]:
    """(word, where it begins, where it ends) of the words of a text."""
    for run in _RUN.finditer(text):
        for word in words(run[0]):
            yield word, run.start(), run.end()
