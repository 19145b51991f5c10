"""The embedded language model of sessile."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["SmolLM"]
if TYPE_CHECKING:
    from sessile_smollm.model import SmolLM as SmolLM
else:
    __getattr__ = lazily(__name__, SmolLM="model")
