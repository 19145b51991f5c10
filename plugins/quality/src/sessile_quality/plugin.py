"""What the plugin registers, and its part in scoring a memory."""

from sessile import hookimpl


@hookimpl
def register(registry):
    registry.kind("scorer")
    registry.add("scorer", "quality", "sessile_quality.scoring:Quality")
    registry.add("scorer", "filter", "sessile_quality.scoring:QualityFilter")
    registry.add("scorer", "judge", "sessile_quality.judging:Judge")


@hookimpl(optionalhook=True)  # without sessile-memory there is no such hook
def score_memory(item):
    from sessile_quality.scoring import Quality

    return Quality()(item)
