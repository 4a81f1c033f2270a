"""Moving average: the mean over the samples of each sample's extremes.

The usual exponential weights make the last samples count most, and so the result depends on their order. Here all
samples weigh the same: it is the cumulative moving average, whose end does not depend on the way. It tames outliers
that only few samples have.
"""

from __future__ import annotations

from edgeopt.calib.statistics import Statistics


def estimate(statistics: Statistics) -> tuple[float, float]:
    """Return the mean of the samples' least values and the mean of their largest."""
    return statistics.extremes.mean_low, statistics.extremes.mean_high
