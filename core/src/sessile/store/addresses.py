"""The URLs of stores: taken apart, checked, and shown without what is secret in them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from sessile.errors import InvalidInput

_WORD = r"(?:[^\s:/?#@%\[\]]|%[0-9A-Fa-f]{2})*"
_HOST = rf"(?:\[[0-9A-Fa-f:.]+\]|{_WORD})(?::\d*)?"
_ADDRESS = re.compile(rf"[a-z][a-z0-9+]*://(?:{_WORD}(?::(?:{_WORD}|:)*)?@)?{_HOST}(?:,{_HOST})*(?:[/?][^\s@#]*)?")
_SECRET = re.compile(r"([?&][^=&]*(?:password|secret|token)[^=&]*=)[^&]*", re.IGNORECASE)


def url_path(url: str, scheme: str) -> str:
    """The path in `scheme:///relative` or `scheme:////absolute` (as SQLAlchemy has it); `InvalidInput` for another form."""
    from urllib.parse import unquote

    prefix = f"{scheme}:///"
    path = unquote(url[len(prefix) :].partition("?")[0])  # in this order: a path may have a quoted "?"
    if not url.startswith(prefix) or not path:
        raise InvalidInput(f"{url!r} names no path: write {prefix}relative/path or {prefix}/absolute/path")
    return path


def check_address(url: str) -> None:
    """`InvalidInput` for a server's address that cannot be read, such as one with a '/' in its password."""
    if not _ADDRESS.fullmatch(url):
        raise InvalidInput(
            f"the address {shown(url)!r} cannot be read: write scheme://user:password@host:port/database, and in a user or "
            "password whatever is no letter or digit as %XX: urllib.parse.quote(password, safe='')"
        )


def url_options(url: str, kinds: Mapping[str, Callable[[str], Any]]) -> tuple[str, dict[str, Any]]:
    """A server's address without the parameters that are a store's own, and those. kinds: what makes a value of each from
    its text. `InvalidInput` where that, or the address, cannot be read."""
    from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

    check_address(url)
    parts = urlsplit(url)
    asked = parse_qsl(parts.query, keep_blank_values=True)
    options = {}
    for name, text in asked:
        if name in kinds:
            try:
                options[name] = kinds[name](text)
            except ValueError as error:
                raise InvalidInput(f"{name}={text!r} in {shown(url)!r} is no number") from error
    others = urlencode([(name, text) for name, text in asked if name not in kinds])
    return urlunsplit(parts._replace(query=others)), options


def path_options(url: str, kinds: Mapping[str, Callable[[str], Any]]) -> tuple[str, dict[str, Any]]:
    """A path's URL without its parameters, and those; as `url_options`, but `InvalidInput` for one that is not in `kinds`."""
    from urllib.parse import parse_qsl

    address, _, query = url.partition("?")
    options = {}
    for name, text in parse_qsl(query, keep_blank_values=True):
        if name not in kinds:
            raise InvalidInput(f"{name}={text!r} in {url!r} is no parameter of this store: it has {', '.join(kinds)}")
        if not text:
            raise InvalidInput(f"{name} in {url!r} has no value: give it one, or leave it out")
        try:
            options[name] = kinds[name](text)
        except ValueError as error:
            raise InvalidInput(f"{name}={text!r} in {url!r} is no number") from error
    return address, options


def shown(url: str) -> str:
    """A URL with passwords hidden. If the URL cannot be parsed, only its scheme is shown."""
    if forgotten := re.fullmatch(r"(\w[\w+]*):(?!//)[^/]*:.*@.*", url):  # an address that lacks its slashes
        return f"{forgotten[1]}:***"
    scheme, _, rest = url.partition("://")
    if "@" in rest and not rest.startswith("/") and not _ADDRESS.fullmatch(url):
        return f"{scheme}://***"
    return re.sub(r"(://[^/@]*?:)[^/]*@", r"\1***@", _SECRET.sub(r"\1***", url))
