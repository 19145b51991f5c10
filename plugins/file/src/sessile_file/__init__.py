"""The file store of sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["FileSessionStore"]
if TYPE_CHECKING:
    from sessile_file.store import FileSessionStore as FileSessionStore
else:
    __getattr__ = lazily(__name__, FileSessionStore="store")
