"""Finding a store: from a URL, a backend's name, an instance, or the default. Stores opened by URL are shared."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any
from weakref import WeakValueDictionary

from sessile.drive.arguments import Unchecked
from sessile.drive.background import background
from sessile.drive.faces import is_awaitable
from sessile.drive.locks import new_lock
from sessile.drive.shown import shorten
from sessile.errors import InvalidInput, NotInstalled
from sessile.plugins.active import Plugins
from sessile.plugins.discovery import installed
from sessile.plugins.registry import Registration
from sessile.store.addresses import shown
from sessile.store.capabilities import Capabilities
from sessile.store.documents import METHODS as DOCUMENT_METHODS
from sessile.store.documents import Documents, DocumentStore, is_document_store
from sessile.store.waist import METHODS, Store, is_store

_lock = new_lock()
_Key = tuple[object, ...]


class _Opened:
    """A store that was opened here, and how many use it."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.users = 0


_opened: dict[_Key, _Opened] = {}  # by process, registrations and URL
_unnamed: WeakValueDictionary[int, _Opened] = WeakValueDictionary()  # those that no URL names, by the store's id, while in use
_openings: WeakValueDictionary[_Key, threading.RLock] = WeakValueDictionary()  # there while somebody opens the store


def home() -> Path:
    """Where sessile keeps what has no other place: ~/.sessile."""
    return Path.home() / ".sessile"


StoreLike = Annotated[str | os.PathLike[str] | Store | Documents | None, Unchecked]  # what opens a store, or is one


def find_store(
    store: StoreLike = None, backend: str | None = None, plugins: Plugins | None = None
) -> tuple[Store, Callable[[], None]]:
    """The store to use, and the function to call when done with it.

    store: a URL, an instance (yours to close), or None. backend: a registered store's name; alone, the store lies in
    its usual place (`usual_url`). With neither: $SESSILE_STORE, else the file store in ~/.sessile/sessions.
    """
    plugins = plugins or installed()
    check_store(store, backend, plugins)
    if store is None:
        store = usual_url(backend, plugins) if backend else default_url(plugins)
    if isinstance(store, (str, os.PathLike)):
        return _shared(os.fspath(store), plugins)
    if is_store(store):
        return store, _leave_open
    if is_document_store(store):
        return DocumentStore(store), _leave_open
    raise InvalidInput(
        f"store is {shorten(store)}, which is none: pass a URL such as 'sqlite:///chat.db', or an object with the methods "
        f"{', '.join(METHODS)} (or async {', '.join(DOCUMENT_METHODS)})"
    )


def _check_agreed(store: Any, backend: str, plugins: Plugins) -> None:
    url = os.fspath(store) if isinstance(store, (str, os.PathLike)) else ""
    if not url or _parts(url, plugins)[2] is not plugins.registry.find("store", backend):
        where = repr(shown(url)) if url else f"a {type(store).__name__}"
        raise InvalidInput(f"store is {where}, and backend is {backend!r}: pass one of them")


def usual_url(backend: str, plugins: Plugins) -> str:
    """The URL a backend is used with when none is given: its class's `usual_url(home)`, else "name://"."""
    factory = plugins.registry.load("store", backend)
    url = getattr(factory, "usual_url", None)
    return str(url(home())) if url else f"{backend}://"


def default_url(plugins: Plugins | None = None) -> str:
    """The store that is used when none is named: $SESSILE_STORE, else the file store in its usual place."""
    return os.environ.get("SESSILE_STORE") or usual_url("file", plugins or installed())


def check_store(store: Any, backend: str | None, plugins: Plugins) -> None:
    """`InvalidInput` or `NotInstalled` for a URL and a backend's name that open no store; nothing is opened."""
    if backend is not None:
        plugins.registry.find("store", backend)
    if isinstance(store, (str, os.PathLike)):
        _parts(os.fspath(store), plugins)
    if store is not None and backend is not None:
        _check_agreed(store, backend, plugins)


def open_store(url: str, plugins: Plugins | None = None) -> Store:
    """A store of one's own from a URL, in the wrappers that it names; `NotInstalled` for an unknown scheme, with what to do."""
    wrappers, inner, registration = _parts(url, plugins or installed())
    factory = registration.load()
    store: Store = factory.from_url(inner) if hasattr(factory, "from_url") else factory(inner)
    for wrapper in reversed(wrappers):
        try:
            store = wrapper.load()(store)
        except BaseException:
            store.close()
            raise
    return store


def _parts(url: str, plugins: Plugins) -> tuple[list[Registration], str, Registration]:
    """The wrappers that a URL names, outermost first, the URL without them, and the store's registration."""
    scheme, colon, _ = url.partition(":")
    if not colon or not scheme:
        names = ", ".join(plugins.registry.names("store"))
        raise InvalidInput(f"store {shown(url)!r} is no URL: write it as scheme:///path or scheme://host (installed: {names})")
    outer, _, inner = url.partition("+")
    try:
        return [], url, plugins.registry.find("store", scheme)
    except NotInstalled:
        if not plugins.registry.has("wrapper", outer):
            raise
    wrappers, url, registration = _parts(inner, plugins)
    return [plugins.registry.find("wrapper", outer), *wrappers], url, registration


def _leave_open() -> None:
    """What the caller opened, the caller closes."""


def share_store(store: Any) -> Callable[[], None]:
    """One more user of a store: the function to call when done with it. A store that was not opened here stays open."""
    with _lock:
        opened = _unnamed.get(id(store))
        if opened is not None and opened.store is store:
            return _releaser(None, opened)
        for key, opened in _opened.items():
            if opened.store is store:
                return _releaser(key, opened)
    return _leave_open


def _shared(url: str, plugins: Plugins) -> tuple[Store, Callable[[], None]]:
    """The store that others have opened by this URL, from the same plugin; a new one for a URL that names none to share."""
    wrappers, inner, registration = _parts(url, plugins)
    absolute = _absolute(registration, inner, _working_directory())
    key: _Key = os.getpid(), *wrappers, registration, absolute  # a connection does not survive a fork
    url = url.removesuffix(inner) + absolute
    with _lock:
        opening = _openings.setdefault(key, threading.RLock())
    with opening:  # one opens it, others wait; `_lock` is free meanwhile, as a store may open another by its URL
        with _lock:
            if opened := _opened.get(key):
                return opened.store, _releaser(key, opened)
        opened = _Opened(open_store(url, plugins))
        with _lock:
            if Capabilities.of(opened.store).private:  # gone with those who use it, closed or not
                _unnamed[id(opened.store)] = opened
                return opened.store, _releaser(None, opened)
            _opened[key] = opened
            return opened.store, _releaser(key, opened)


@functools.lru_cache(maxsize=1024)
def _absolute(registration: Registration, url: str, place: str) -> str:
    """The URL with a relative path in it made absolute, in this working directory."""
    absolute = getattr(registration.load(), "absolute_url", None)
    return str(absolute(url)) if absolute else url


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def _releaser(key: _Key | None, opened: _Opened) -> Callable[[], None]:
    """Add one to a shared store's users. Returns the function that subtracts it; the last user's call closes the store."""
    opened.users += 1
    released = False

    def release() -> None:
        nonlocal released
        with _lock:
            if released:
                return
            released = True
            opened.users -= 1
            if opened.users:
                return
            if key is not None:
                _opened.pop(key, None)
        result = opened.store.close()
        if is_awaitable(result):
            background(result)

    return release
