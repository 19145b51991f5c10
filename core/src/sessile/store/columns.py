"""Headers as rows, for stores whose database has columns: the fields that have one, and all others, which are details."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sessile.errors import CorruptStore, StoreTooNew
from sessile.log.encoding import from_json
from sessile.log.header import Header
from sessile.store.waist import Page

R = TypeVar("R")

# Header fields that a database may be asked for, and the name of the column of each.
COLUMNS = {
    "session_id": "session_id",
    "log": "log",
    "user_id": "user_id",
    "parent": "parent",
    "root": "root",
    "status": "status",
    "created_at": "created_at",
    "updated_at": "updated_at",
    "version": "version",
    "head": "head",
    "count": "count",
    "base": "base",
    "hash": "hash",
    "commit": "commit_id",
}
_UPDATED_AT, _USER_ID = (list(COLUMNS).index(name) for name in ("updated_at", "user_id"))


def from_row(row: Sequence[Any], details_in: Callable[[str], dict[str, Any]] = from_json) -> Header:
    """The header in a row of `COLUMNS` and details, which are JSON text, an object of the other fields.

    `CorruptStore` where it is none.
    """
    try:
        details = {} if row[-1] == "{}" else details_in(row[-1])  # it nearly always is
        details.update(zip(COLUMNS, row))  # noqa: B905 - the details, the last of the row, have no name here
        return Header.from_dict(details)
    except (TypeError, ValueError, AttributeError, CorruptStore) as error:
        raise CorruptStore(
            f"the details of session {row[0]!r} are not readable ({error}): delete it, or restore a copy", user_id=row[_USER_ID]
        ) from error


def page_of_rows(rows: Sequence[R], limit: int, to_header: Callable[[R], Header]) -> Page[Header]:
    """A page of the headers in such rows, of which there is one more where there is another page. Broken ones are left out."""
    page = Page.of(rows, limit, lambda row: (row[_UPDATED_AT], row[0]))  # type: ignore[index]
    try:
        return Page([*map(to_header, page.items)], page.cursor)
    except CorruptStore:
        return Page([header for row in page.items if (header := readable(to_header, row))], page.cursor)


def readable(to_header: Callable[..., Header | None], *stored: Any) -> Header | None:
    """The header that `to_header` makes of what is stored, for a list; None for a broken one, which must not hide the others."""
    try:
        return to_header(*stored)
    except CorruptStore:
        return None


def refuse_newer(what: str, found: int, newest: int, package: str) -> None:
    """`StoreTooNew` where a newer version of a package has written this. what: such as "table 'sessions'"."""
    if found > newest:
        raise StoreTooNew(f"{what} has schema {found}, and this version knows {newest}: upgrade {package}")
