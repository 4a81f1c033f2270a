"""Entropy: the range that loses the least information, by the Kullback-Leibler divergence.

Of the values clipped to a candidate range (P, what is outside counted at the ends) and of the same values merged to
256 levels (Q), the divergence KL(P || Q) says how much Q misses of P. Source: S. Migacz, 8-bit Inference with
TensorRT, GTC 2017; here for ranges that are not symmetric: both ends are cut at the same distance from zero. Zeros
count no more than their neighbors: behind a ReLU they are half of all values, yet every range holds zero exactly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeopt.calib.statistics import BINS, Histogram, Statistics

_LEVELS = 256
_CUTS = 64
_EPSILON = 1e-4


def estimate(statistics: Statistics) -> tuple[float, float]:
    """Return the interval of least divergence among those that cut the observed one at some distance from zero."""
    histogram = statistics.histogram
    assert histogram is not None
    counts = _without_zeros(histogram)
    # Of equal candidates the widest saturates least: it comes first.
    first, last = min(_candidates(histogram), key=lambda kept: _divergence(counts, *kept))
    return float(histogram.edges[first]), float(histogram.edges[last])


def _candidates(histogram: Histogram) -> Iterator[tuple[int, int]]:
    """Yield the bins to keep, first and one past the last, widest first; never fewer than there are levels."""
    furthest = max(abs(histogram.low), abs(histogram.high))
    for cut in range(_CUTS, 0, -1):
        distance = furthest * cut / _CUTS
        first = int(np.searchsorted(histogram.edges, -distance, side="right")) - 1 if histogram.low < 0 else 0
        last = int(np.searchsorted(histogram.edges, distance, side="left")) if histogram.high > 0 else BINS
        first, last = max(first, 0), min(last, BINS)
        if last - first >= _LEVELS or cut == _CUTS:
            yield first, last


def _without_zeros(histogram: Histogram) -> np.ndarray:
    """Return the counts with the bin of zero lowered to the larger of its neighbors."""
    counts = histogram.counts.astype(np.float64)
    if histogram.low <= 0 <= histogram.high:
        zero = min(int(np.searchsorted(histogram.edges, 0.0, side="right")) - 1, BINS - 1)
        neighbors = counts[max(zero - 1, 0) : zero + 2].copy()
        neighbors[min(zero, 1)] = 0
        counts[zero] = min(counts[zero], neighbors.max())
    return counts


def _divergence(all_counts: np.ndarray, first: int, last: int) -> float:
    counts = all_counts[first:last]
    p = counts.copy()
    p[0] += all_counts[:first].sum()
    p[-1] += all_counts[last:].sum()
    if not p.any():
        return 0.0
    level = np.arange(len(counts)) * _LEVELS // len(counts)
    occupied = counts > 0
    total = np.bincount(level, counts, _LEVELS)
    number = np.bincount(level, occupied, _LEVELS)
    q = np.where(occupied, (total / np.maximum(number, 1))[level], 0.0)
    # A level that P uses and Q does not would make the divergence infinite: give it a little.
    p, q = p / p.sum(), np.maximum(q / max(q.sum(), 1.0), _EPSILON / len(counts))
    used = p > 0
    return float(np.sum(p[used] * np.log(p[used] / q[used])))
