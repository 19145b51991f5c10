"""Stores: what the author of one needs. The seven methods are in `waist.py`; the conformance kit holds a store to them."""

from sessile.conversation.messages import ROLES, from_entry
from sessile.drive.arguments import Lifetime, Seconds, checked
from sessile.drive.background import background
from sessile.drive.faces import run
from sessile.drive.recent import Recent
from sessile.log.encoding import JSON, from_json, to_json
from sessile.log.entries import Entry
from sessile.log.header import STATUSES, UNSEEN, Header, is_unset
from sessile.log.ids import CONTROL, RESERVED, check_id, file_name, new_id, owner_of
from sessile.log.stamping import version_after
from sessile.store.addresses import path_options, shown, url_options, url_path
from sessile.store.capabilities import Capabilities
from sessile.store.columns import COLUMNS, from_row, page_of_rows, readable, refuse_newer
from sessile.store.documents import SessionStore
from sessile.store.memory import MemorySessionStore
from sessile.store.native import Engine, Guard, NativeStore, maybe
from sessile.store.opening import find_store, home, open_store
from sessile.store.text.query import SearchQuery, Term
from sessile.store.text.words import words
from sessile.store.waist import MARGIN, MOST, Page, Query, Store, conflict, missing, recency, whole
from sessile.store.wrapper import StoreWrapper

__all__ = [
    "COLUMNS",
    "CONTROL",
    "JSON",
    "MARGIN",
    "MOST",
    "RESERVED",
    "ROLES",
    "STATUSES",
    "UNSEEN",
    "Capabilities",
    "Engine",
    "Entry",
    "Guard",
    "Header",
    "Lifetime",
    "MemorySessionStore",
    "NativeStore",
    "Page",
    "Query",
    "Recent",
    "SearchQuery",
    "Seconds",
    "SessionStore",
    "Store",
    "StoreWrapper",
    "Term",
    "background",
    "check_id",
    "checked",
    "conflict",
    "file_name",
    "find_store",
    "from_entry",
    "from_json",
    "from_row",
    "home",
    "is_unset",
    "maybe",
    "missing",
    "new_id",
    "open_store",
    "owner_of",
    "page_of_rows",
    "path_options",
    "readable",
    "recency",
    "refuse_newer",
    "run",
    "shown",
    "to_json",
    "url_options",
    "url_path",
    "version_after",
    "whole",
    "words",
]
