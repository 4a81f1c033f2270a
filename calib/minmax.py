"""Min-max: the range is all that was observed. Nothing saturates; one outlier coarsens every step."""

from __future__ import annotations

from edgeopt.calib.statistics import Statistics


def estimate(statistics: Statistics) -> tuple[float, float]:
    """Return the least and the largest value observed."""
    return statistics.extremes.low, statistics.extremes.high
