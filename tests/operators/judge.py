"""Whether a target's result is torch's: shape, type, integers exactly, floats within a bound of each output's own."""

from __future__ import annotations

import numpy as np

BOUND = 2e-5
"""Relative to an output's largest value; ten times the operator's own noise where that is more."""

_NOISE_FACTOR = 10.0
_SMALLEST = 100 * float(np.finfo(np.float32).tiny)
"""Below it, results have factors that processors may round to 0."""


def difference(expected: np.ndarray, got: np.ndarray, noise: float) -> str | None:
    """Return how a result differs from what was expected, or None."""
    if got.shape != expected.shape:
        return f"shape {got.shape} for {expected.shape}"
    if got.dtype != expected.dtype:
        return f"{got.dtype} for {expected.dtype}"
    if expected.dtype.kind != "f":
        wrong = np.flatnonzero(got != expected)
        return _first(expected, got, wrong) if wrong.size else None
    wrong = np.flatnonzero(~_equal(expected, got, max(BOUND, _NOISE_FACTOR * noise)))
    return _first(expected, got, wrong) if wrong.size else None


def _equal(expected: np.ndarray, got: np.ndarray, bound: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        finite = np.isfinite(expected)
        scale = np.abs(expected[finite].astype(np.float64)).max(initial=0.0)
        near = np.abs(expected.astype(np.float64) - got) <= max(bound * scale, _SMALLEST)
        return np.where(finite, near, (expected == got) | np.isnan(expected) & np.isnan(got))


def _first(expected: np.ndarray, got: np.ndarray, wrong: np.ndarray) -> str:
    a, b = expected.ravel()[wrong[0]], got.ravel()[wrong[0]]
    return f"{wrong.size} of {expected.size} differ, the first {b!s} for {a!s}"
