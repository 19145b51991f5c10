"""Models that speak the OpenAI API, for sessile."""

from typing import Any

__all__ = ["OpenAIModel"]


def __getattr__(name: str) -> Any:  # on first use: registering the plugin imports this package, and must stay light
    if name in __all__:
        from sessile_openai import model

        return getattr(model, name)
    raise AttributeError(name)
