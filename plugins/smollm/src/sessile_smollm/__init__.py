"""The embedded language model of sessile."""

from sessile_smollm.model import SmolLM

__all__ = ["SmolLM"]
