"""The quality of what is remembered: four metrics, decay over time, a filter, and a judge by model."""

from typing import TYPE_CHECKING

from sessile.plugins import lazily

__all__ = ["Judge", "Quality", "QualityFilter", "decayed"]
if TYPE_CHECKING:
    from sessile_quality.judging import Judge as Judge
    from sessile_quality.metrics import decayed as decayed
    from sessile_quality.scoring import Quality as Quality
    from sessile_quality.scoring import QualityFilter as QualityFilter
else:
    __getattr__ = lazily(__name__, Judge="judging", Quality="scoring", QualityFilter="scoring", decayed="metrics")
