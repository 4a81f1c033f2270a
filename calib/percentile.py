"""Percentile: the range holds all but a given share of the values; half of the share is cut at each end."""

from __future__ import annotations

import numpy as np

from edgeopt.calib.statistics import Statistics

DEFAULT_KEEP = 99.99
"""Percent of the values kept where none is given."""


def estimate(statistics: Statistics, keep: float = DEFAULT_KEEP) -> tuple[float, float]:
    """Return the interval that holds ``keep`` percent of the values, to the width of a bin."""
    histogram = statistics.histogram
    assert histogram is not None
    reached = np.cumsum(histogram.counts) / histogram.counts.sum()
    tail = (1 - keep / 100) / 2
    first = int(np.searchsorted(reached, tail, side="right"))
    last = int(np.searchsorted(reached, 1 - tail, side="left"))
    return float(histogram.edges[first]), float(histogram.edges[min(last, len(reached) - 1) + 1])
