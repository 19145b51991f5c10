"""Values as an error shows them, whatever they are."""

from __future__ import annotations

_DIGITS = 4300  # of an integer: what Python's own reader takes
_HUGE = 10**_DIGITS


def shorten(value: object, length: int = 60) -> str:
    """A value's `repr` as an error shows it: cut, and never an error of its own."""
    try:
        return f"{value!r:.{length}}" if not is_huge(value) else f"an integer of more than {_DIGITS} digits"
    except Exception:  # whatever a foreign __repr__ raises, or an integer inside of a list
        return f"a {type(value).__name__}"


def is_huge(value: object) -> bool:
    """Is this an integer that cannot be written as text, nor read again?"""
    return isinstance(value, int) and value.bit_length() > 64 and abs(value) >= _HUGE


def is_encodable(text: str) -> bool:
    """Has a text no lone surrogates, so that it can be written as UTF-8?"""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
