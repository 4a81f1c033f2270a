"""MSE: the range whose 256 steps give the least mean squared error, saturation included.

The error of a candidate is summed over the histogram, each bin standing for its center. Starting from everything
observed, the two ends move inwards one after the other while that helps (coordinate descent).
"""

from __future__ import annotations

import numpy as np

from edgeopt.calib.statistics import Histogram, Statistics

_LEVELS = 256
_SHRINKS = np.linspace(1.0, 0.1, 91)
_ROUNDS = 3


def estimate(statistics: Statistics) -> tuple[float, float]:
    """Return the interval (zero included) of least mean squared quantization error."""
    histogram = statistics.histogram
    assert histogram is not None
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    full_low, full_high = low, high
    for _ in range(_ROUNDS):
        before = low, high
        high = min((full_high * s for s in _SHRINKS), key=lambda end: _error(histogram, low, end))
        low = min((full_low * s for s in _SHRINKS), key=lambda end: _error(histogram, end, high))
        if (low, high) == before:
            break
    return float(low), float(high)


def _error(histogram: Histogram, low: float, high: float) -> float:
    """Return the summed squared error of rounding the histogram to the levels between low and high."""
    step = (high - low) / (_LEVELS - 1)
    if step <= 0:
        return float(histogram.counts @ histogram.centers**2)
    zero = round(-low / step)
    levels = np.clip(np.round(histogram.centers / step) + zero, 0, _LEVELS - 1)
    # A bin is at times as wide as a step: the spread inside it is the same for every candidate and left out.
    return float(histogram.counts @ ((levels - zero) * step - histogram.centers) ** 2)
