"""The embedded language model of sessile."""

from sessile.plugins import lazily

__all__ = ["SmolLM"]
__getattr__ = lazily(__name__, SmolLM="model")
