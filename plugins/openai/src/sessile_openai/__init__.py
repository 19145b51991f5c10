"""Models that speak the OpenAI API, for sessile."""

from sessile_openai.model import OpenAIModel

__all__ = ["OpenAIModel"]
