"""Whether a target's result is torch's: shape, type, integers exactly, floats within a bound of each output's own."""

from __future__ import annotations

import numpy as np

BOUND = 2e-5
"""Relative to an output's largest value; ten times the operator's own noise where that is more."""

_NOISE_FACTOR = 10.0
ABSOLUTE = {"sigmoid": 1e-7, "silu": 1e-6}
"""By operator: half a step of float32 at the largest value that a factor of it has, 1; ONNX Runtime's are no closer."""

_SMALLEST = 100 * float(np.finfo(np.float32).tiny)
"""Below it, results have factors that processors may round to 0."""


def difference(expected: np.ndarray, got: np.ndarray, noise: float, absolute: float = 0.0) -> str | None:
    """Return how a result differs from what was expected, or None; by less than ``absolute`` it may."""
    if got.shape != expected.shape:
        return f"shape {got.shape} for {expected.shape}"
    if got.dtype != expected.dtype:
        return f"{got.dtype} for {expected.dtype}"
    if expected.dtype.kind != "f":
        wrong = np.flatnonzero(got != expected)
        return _first(expected, got, wrong) if wrong.size else None
    wrong = np.flatnonzero(~_equal(expected, got, max(BOUND, _NOISE_FACTOR * noise), max(absolute, _SMALLEST)))
    return _first(expected, got, wrong) if wrong.size else None


def is_exact(expected: np.ndarray, got: np.ndarray) -> bool:
    """Return whether every number is the one expected."""
    return bool(np.array_equal(expected, got, equal_nan=expected.dtype.kind in "fc"))


def _equal(expected: np.ndarray, got: np.ndarray, bound: float, least: float) -> np.ndarray:
    with np.errstate(all="ignore"):
        finite = np.isfinite(expected)
        scale = np.abs(expected[finite].astype(np.float64)).max(initial=0.0)
        near = np.abs(expected.astype(np.float64) - got) <= max(bound * scale, least)
        found: np.ndarray = np.where(finite, near, (expected == got) | np.isnan(expected) & np.isnan(got))
        return found


def _first(expected: np.ndarray, got: np.ndarray, wrong: np.ndarray) -> str:
    a, b = expected.ravel()[wrong[0]], got.ravel()[wrong[0]]
    return f"{wrong.size} of {expected.size} differ, the first {b!s} for {a!s}"
