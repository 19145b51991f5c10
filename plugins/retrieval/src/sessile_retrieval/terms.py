"""What a passage is found by: its words as FTS5 indexes them, the words of its time, and the words that a query asks for."""

from __future__ import annotations

import time

from sessile.store import words

MOST_TERMS = 48  # of a query; more are left out, the shortest first
_MONTHS = "january february march april may june july august september october november december".split()
# Words that say nothing of what is asked for. English, as the stemming is; words of other languages are kept by their rarity.
_STOP = frozenset(
    "a about all also am an and any are as at be been but by can could d did do does don for from had has have he her here him "
    "his how i if in into is it its just ll m me my no not of on one or our out re s she so some such t than that the their them "
    "then there these they this those to up us ve was we were what when where which who whom whose why will "
    "with would you your".split()
)


def words_of(text: str) -> str:
    """The words of a text, for FTS5, which only has to part and stem them."""
    return text if text.isascii() else " ".join(words(text))


def words_of_time(at: float | None) -> str:
    """The words that people ask for a time with: "2026 november monday" (UTC); "" for None."""
    if at is None:
        return ""
    try:
        found = time.gmtime(at)
    except (OverflowError, ValueError, OSError):
        return ""
    return f"{found.tm_year} {_MONTHS[found.tm_mon - 1]} {time.strftime('%A', found).lower()}"


def terms_of(query: str) -> list[str]:
    """The words that a query asks for, each once; all of its words where none of them says anything."""
    every = [*dict.fromkeys(words(query))]
    telling = [word for word in every if word not in _STOP] or every
    return sorted(telling, key=len, reverse=True)[:MOST_TERMS] if len(telling) > MOST_TERMS else telling
