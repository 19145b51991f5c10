"""Ids: how they are made, which are accepted, and how one becomes a file name."""

from __future__ import annotations

import hashlib
import os
import re

from sessile.errors import InvalidSessionId

MAX_ID = 255  # characters, of session and user ids
RESERVED = "~"  # ids that begin so are sessile's own records, such as the state that a user's sessions share
USER_STATE = f"{RESERVED}user:"  # and the user: the id of the state that a user's sessions share
APP_STATE = f"{RESERVED}app"  # of the state that all share, with ":" and the application where that has a name
HEIRS = f"{RESERVED}heirs:"  # and a log: the id of the record of who inherits from it
CONTROL = re.compile(r"[\x00-\x1f\x7f\u2028\u2029\ud800-\udfff]")
_PLAIN = re.compile(r"[a-z0-9_.@=+-]")
_PART_UP = re.compile(r"(?<![^/\\])(\.\.?)(?![^/\\])")  # "." and ".." as parts of a path
_PLAIN_NAME = re.compile(r"[a-z0-9_@=+-][a-z0-9_.@=+-]*[a-z0-9_@=+-]|[a-z0-9_@=+-]")
_WINDOWS = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
_MAX_FILE_NAME = 180  # characters: file systems allow 255 bytes, and stores add suffixes


def new_id() -> str:
    """A fresh id of 80 random bits: 20 hexadecimal digits."""
    return os.urandom(10).hex()


def new_log_id(session_id: str) -> str:
    """The id of a new log: "<random>.<session id>". The session id tells whose it is, and where a store keeps it."""
    return f"{new_id()}.{session_id}"


def owner_of(log: str) -> str:
    """The session id that this log was made for. That session may be deleted, or the id may belong to a newer session."""
    return log.partition(".")[2]


def check_id(value: object, what: str = "session id", *, reserved: bool = False) -> str:
    """Return `value` if it can be a session or user id, else raise `InvalidSessionId`.

    Any printable text of 1 to 255 characters is one, except: '.' or '..' as a part of a path, white space at either
    end, and a leading '~' (kept for sessile itself, `reserved=True`).
    """
    if not isinstance(value, str):
        raise InvalidSessionId(f"a {what} is a string, not {type(value).__name__} ({value!r}): pass str({what!r})")
    if reserved and value.startswith(RESERVED):
        return value
    problem = _problem(value)
    if problem:
        shown = value if len(value) <= 60 else value[:57] + "..."
        raise InvalidSessionId(f"{what} {shown!r} {problem}: use 1 to {MAX_ID} printable characters such as 'user-42-main'")
    return value


def _problem(value: str) -> str:
    if not value:
        return "is empty"
    if len(value) > MAX_ID:
        return f"has {len(value)} characters"
    if control := CONTROL.search(value):
        return f"has the control character {control.group()!r}"
    if value != value.strip():
        return "begins or ends with white space"
    if value.startswith(RESERVED):
        return f"begins with {RESERVED!r}, which is reserved"
    if any(part in (".", "..") for part in re.split(r"[/\\]", value)):
        return "has '.' or '..' as a part of a path"
    return ""


def encode_id(text: str, *more: str) -> str:
    """An id for any texts, such as those that another framework knows a session by. Different texts always get different ids.

    A single text that can be an id and has no "%" in it stays as it is. Characters that no id may have become %XX of their
    UTF-8 bytes, several texts are joined by "%/", and a SHA-256 stands for the end of what is too long for an id.
    `InvalidSessionId` where one is no text.
    """
    for one in (text, *more):
        if not isinstance(one, str):
            raise InvalidSessionId(f"{one!r:.60} is no text that an id can be made of: pass a string")
    encoded = "%/".join(map(_encoded, (text, *more))) or "%"
    if len(encoded) > MAX_ID:
        digest = hashlib.sha256(encoded.encode()).hexdigest()
        encoded = f"{encoded[: MAX_ID - len(digest) - 2].rstrip()}%%{digest}"
    return encoded


def _encoded(text: str) -> str:
    def percent(found: re.Match[str]) -> str:
        return "".join(f"%{byte:02x}" for byte in found.group().encode(errors="surrogatepass"))

    return re.sub(rf"^[{RESERVED}\s]+|\s+$|%|{CONTROL.pattern}|{_PART_UP.pattern}", percent, text)


def file_name(session_id: str) -> str:
    """The one file name of an id: two ids never share one, on case-insensitive file systems too.

    Plain lower-case ids stay as they are; every other character becomes %XX of its UTF-8 bytes. Where that grows too
    long, or is a name an operating system keeps for itself, a SHA-256 of the id stands for the rest.
    """
    if _PLAIN_NAME.fullmatch(session_id) and len(session_id) <= _MAX_FILE_NAME and not _WINDOWS.fullmatch(session_id):
        return session_id
    encoded = "".join(c if _PLAIN.match(c) else "".join(f"%{b:02x}" for b in c.encode()) for c in session_id)
    edges = encoded[0] == "." or encoded[-1] == "."
    if edges or len(encoded) > _MAX_FILE_NAME or _WINDOWS.fullmatch(encoded):
        encoded = f"{encoded[:80].strip('.')}%%{hashlib.sha256(session_id.encode()).hexdigest()}"
    return encoded
