"""Models that speak the OpenAI API, for sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["OpenAIModel"]
if TYPE_CHECKING:
    from sessile_openai.model import OpenAIModel as OpenAIModel
else:
    __getattr__ = lazily(__name__, OpenAIModel="model")
