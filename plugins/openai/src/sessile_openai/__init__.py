"""Models that speak the OpenAI API, for sessile."""

from sessile.plugins import lazily

__all__ = ["OpenAIModel"]
__getattr__ = lazily(__name__, OpenAIModel="model")
