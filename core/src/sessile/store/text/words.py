"""What a word is: the same in every store's index, and where a text is compared without one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_ACCENT = re.compile("[\u0300-\u036f]")
_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The words of a text, as a search compares them: its runs of letters and digits, in order, without case and accents.

    "Don't, Zoë!" is don, t and zoe.
    """
    if not text.isascii():
        text = unicodedata.normalize("NFD", text.casefold())
        text = unicodedata.normalize("NFC", _ACCENT.sub("", text))
    return _WORD.findall(text.casefold())


def located(text: str) -> Iterator[tuple[str, int, int]]:
    """(word, where it begins, where it ends) of the words of a text: the same words."""
    for begin, end in _runs(text):
        for word in words(text[begin:end]):
            yield word, begin, end


def _runs(text: str) -> Iterator[tuple[int, int]]:
    """Where letters, digits and the signs that belong to them stand together: words are parts of these."""
    if text.isascii():
        yield from (found.span() for found in _WORD.finditer(text))
        return
    begin = None
    for index, character in enumerate(text):
        if character.isalnum() or unicodedata.combining(character) or _ACCENT.match(character):
            begin = index if begin is None else begin
        elif begin is not None:
            yield begin, index
            begin = None
    if begin is not None:
        yield begin, len(text)
