"""The file store of sessile."""

from sessile_file.store import FileSessionStore

__all__ = ["FileSessionStore"]
