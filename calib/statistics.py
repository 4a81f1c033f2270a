"""What is learnt of one value while samples run: extremes first, then a histogram between them.

Both are independent of the order of the samples, exactly: minima, maxima and integer counts commute, and the sums
behind the mean extremes are kept as integers (every float32 is a multiple of 2^-149).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch

BINS = 2048
"""Bins of a histogram, equally wide between the least and the largest value observed."""

_EXPONENT = 149


@dataclass
class Extremes:
    """Least and largest value over all samples, and the sums of each sample's least and largest.

    A value that is not finite in one sample has no extremes: they are infinite, and nothing is added up.
    """

    low: float = float("inf")
    high: float = float("-inf")
    low_sum: int = 0
    high_sum: int = 0
    samples: int = 0

    def add(self, value: torch.Tensor) -> None:
        """Take in the value that one sample gave."""
        if value.numel() == 0:
            return
        low, high = (float(bound) for bound in torch.aminmax(value))
        self.samples += 1
        if not (math.isfinite(low) and math.isfinite(high)):
            self.low, self.high = -math.inf, math.inf
            return
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.low_sum += _fixed_point(low)
        self.high_sum += _fixed_point(high)

    @property
    def mean_low(self) -> float:
        """Mean over the samples of their least value."""
        return self.low_sum / (self.samples << _EXPONENT)

    @property
    def mean_high(self) -> float:
        """Mean over the samples of their largest value."""
        return self.high_sum / (self.samples << _EXPONENT)


@dataclass
class Histogram:
    """How many values fell into each of ``BINS`` equal bins between ``low`` and ``high``."""

    low: float
    high: float
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, value: torch.Tensor) -> None:
        """Count the values that one sample gave; values beyond the ends count in the outermost bins."""
        width = (self.high - self.low) / BINS
        # Each value finds its bin by itself, in float64: no other value or sample has a say.
        bins = ((value.double().flatten() - self.low) / (width or 1.0)).long().clamp_(0, BINS - 1)
        self.counts += torch.bincount(bins, minlength=BINS).numpy()

    @property
    def edges(self) -> np.ndarray:
        """The ``BINS + 1`` edges of the bins."""
        return np.linspace(self.low, self.high, BINS + 1)

    @property
    def centers(self) -> np.ndarray:
        """The middle of each bin."""
        edges = self.edges
        centers: np.ndarray = (edges[1:] + edges[:-1]) / 2
        return centers


@dataclass(frozen=True)
class Statistics:
    """All that an estimator may look at; ``histogram`` is None for estimators that need only the extremes."""

    extremes: Extremes
    histogram: Histogram | None = None


def _fixed_point(value: float) -> int:
    """Return ``value * 2^149``, exact for every finite float32."""
    numerator, denominator = value.as_integer_ratio()
    return (numerator << _EXPONENT) // denominator
