"""The file store of sessile."""

from sessile.plugins import lazily

__all__ = ["FileSessionStore"]
__getattr__ = lazily(__name__, FileSessionStore="store")
