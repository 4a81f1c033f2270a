"""Entropy: the range that loses the least information, by the Kullback-Leibler divergence.

Of the values clipped to a candidate range (P, what is outside counted at the ends) and of the same values merged to
256 levels (Q), the divergence KL(P || Q) says how much Q misses of P. Source: S. Migacz, 8-bit Inference with
TensorRT, GTC 2017; here for ranges that are not symmetric, both ends moving inwards in proportion. Zeros count no
more than their neighbours: behind a ReLU they are half of all values, yet every range holds zero exactly.
"""

from __future__ import annotations

import numpy as np

from edgeopt.calib.statistics import BINS, Histogram, Statistics

_LEVELS = 256
_CANDIDATES = range(_LEVELS, BINS + 1, 32)
_EPSILON = 1e-4


def estimate(statistics: Statistics) -> tuple[float, float]:
    """Return the interval of least divergence among those that shrink the observed one towards zero."""
    histogram = statistics.histogram
    assert histogram is not None
    counts = _without_zeros(histogram)
    divergences = {bins: _divergence(counts, *_kept(histogram, bins)) for bins in _CANDIDATES}
    # Of equal candidates the widest saturates least.
    best = min(sorted(divergences, reverse=True), key=divergences.__getitem__)
    first, last = _kept(histogram, best)
    return float(histogram.edges[first]), float(histogram.edges[last])


def _kept(histogram: Histogram, bins: int) -> tuple[int, int]:
    """Return the bins kept, first and one past the last, when both ends shrink towards zero in proportion."""
    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    share = -low / (high - low) if high > low else 0.0
    cut = BINS - bins
    first = round(cut * share)
    return first, first + bins


def _without_zeros(histogram: Histogram) -> np.ndarray:
    """Return the counts with the bin of zero lowered to the larger of its neighbours."""
    counts = histogram.counts.astype(np.float64)
    if histogram.low <= 0 <= histogram.high:
        zero = min(int(np.searchsorted(histogram.edges, 0.0, side="right")) - 1, BINS - 1)
        neighbours = counts[max(zero - 1, 0) : zero + 2].copy()
        neighbours[min(zero, 1)] = 0
        counts[zero] = min(counts[zero], neighbours.max())
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
