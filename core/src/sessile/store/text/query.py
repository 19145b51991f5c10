"""What a search asks for: the language in which people write it, and whether a message is it.

An index finds what may be meant; whether it is, is decided here, so that all stores find the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

import attrs

from sessile.errors import InvalidInput
from sessile.log.ids import check_id
from sessile.store.text.words import located, words

_TOKEN = re.compile(
    r"""(?<!\S)(?P<filter>user|session|after):(?:"(?P<quoted>[^"]*)"|(?P<value>[^\s"]\S*))"""
    r"""|(?<!\S)(?P<unclosed>(?:user|session|after):"[^"]*)\Z"""
    r"""|"(?P<phrase>[^"]*)"(?P<open>\*?)|(?P<plain>[^\s"]+)"""
)


@attrs.frozen
class Term:
    """Words that must be in a message, one behind the other. prefix: the last of them is the beginning of a word."""

    words: tuple[str, ...]
    prefix: bool = False

    def places(self, said: Sequence[str]) -> Iterator[range]:
        """Where it is in the words of a message."""
        size = len(self.words)
        for start in range(len(said) - size + 1):
            *whole, last = said[start : start + size]
            if tuple(whole) == self.words[:-1] and (last.startswith(self.words[-1]) if self.prefix else last == self.words[-1]):
                yield range(start, start + size)


@attrs.frozen(kw_only=True)
class SearchQuery:
    """What a search asks for. A message has to have all terms.

    user_id: whose sessions. session_id: the one in whose history it is. after: not said before (seconds since 1970).
    logs: the only logs that need to be looked through; None: all.
    """

    terms: tuple[Term, ...]
    user_id: str | None = None
    session_id: str | None = None
    after: float | None = None
    logs: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> SearchQuery:
        """The query that a text is: words, `"a phrase"`, `begin*`, `user:ID`, `session:ID`, `after:2026-11-30`.

        `InvalidInput` for a filter that is given twice or means nothing.
        """
        terms: dict[Term, None] = {}
        filters: dict[str, str] = {}
        for found in _TOKEN.finditer(text):
            if found["unclosed"]:
                raise InvalidInput(
                    f"text asks for {found['unclosed']:.60}, whose quote has no end: write the other one behind it"
                )
            if (name := found["filter"]) is not None:
                value = found["quoted"] if found["quoted"] is not None else found["value"]
                if filters.setdefault(name, value) != value:
                    raise InvalidInput(f"text asks for {name}:{filters[name]} and for {name}:{value}: write one of them")
            else:
                terms |= dict.fromkeys(_terms(found["phrase"], found["plain"], found["open"]))
        return cls(
            terms=tuple(terms),
            user_id=check_id(filters["user"], "user id") if "user" in filters else None,
            session_id=check_id(filters["session"], "session id") if "session" in filters else None,
            after=_seconds(filters["after"]) if "after" in filters else None,
        )

    def matches(self, text: str) -> bool:
        """Has a text all terms?"""
        said = words(text)
        there = {*said}
        plain = {term.words[0] for term in self.terms if len(term.words) == 1 and not term.prefix}
        others = (term for term in self.terms if len(term.words) > 1 or term.prefix)
        return plain <= there and all(any(True for _ in term.places(said)) for term in others)

    def marks(self, text: str) -> list[tuple[int, int]]:
        """(begin, end) of the parts of a text that it asked for, in order, none within another."""
        there = [*located(text)]
        said = [word for word, _, _ in there]
        places = (place for term in self.terms for place in term.places(said))
        found: list[tuple[int, int]] = []
        for begin, end in sorted((there[place[0]][1], there[place[-1]][2]) for place in places):
            if found and begin < found[-1][1]:
                begin, end = found[-1][0], max(end, found.pop()[1])
            found.append((begin, end))
        return found


def _terms(phrase: str | None, plain: str | None, star: str | None) -> Iterator[Term]:
    if phrase is not None:
        if found := words(phrase):
            yield Term(tuple(found), bool(star))
    elif plain is not None:
        found = words(plain)
        for index, word in enumerate(found):
            yield Term((word,), plain.endswith("*") and index == len(found) - 1)


def _seconds(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(
            f'after:{text} is no date: write one such as after:2026-11-30 or after:2026-11-30T08:00 (UTC); "after:{text}" in '
            "quotes searches for the words"
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
