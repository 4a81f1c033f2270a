"""How far one set of output tensors lies from another."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from edgeopt.errors import UserError

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Error:
    """Distance of outputs from their reference, over all outputs and samples together.

    ``max_abs``: largest absolute difference. ``relative``: ``max_abs`` over the largest absolute reference
    value. ``sqnr_db``: reference power over error power in dB, infinite when equal. ``cosine``: cosine of the
    angle between the two, 1 when equal.
    """

    max_abs: float
    relative: float
    sqnr_db: float
    cosine: float


class _ErrorSum:
    """Accumulates the error of many samples without keeping them."""

    def __init__(self) -> None:
        self._max_abs = 0.0
        self._max_reference = 0.0
        self._noise = self._power = self._power_other = self._dot = 0.0

    def add(self, reference: Arrays, other: Arrays) -> None:
        """Add one sample's outputs."""
        for name, expected in reference.items():
            if name not in other or other[name].shape != expected.shape:
                found = other[name].shape if name in other else "absent"
                raise UserError(
                    f"output '{name}' has shape {found}, the original's is {expected.shape}",
                    "check that both models are run on the same inputs",
                )
            self._add_tensor(expected, other[name])

    def _add_tensor(self, expected: np.ndarray, got: np.ndarray) -> None:
        a, b = expected.astype(np.float64).ravel(), got.astype(np.float64).ravel()
        # Equal infinities (masks) are no error; their difference would be NaN.
        equal = (a == b) & ~np.isfinite(a)
        a, b = np.where(equal, 0.0, a), np.where(equal, 0.0, b)
        difference = np.abs(a - b)
        self._max_abs = float(np.max([self._max_abs, *(difference.max(keepdims=True) if a.size else ())]))
        self._max_reference = max(self._max_reference, float(np.abs(a).max(initial=0.0)))
        self._noise += float(difference @ difference)
        self._power += float(a @ a)
        self._power_other += float(b @ b)
        self._dot += float(a @ b)

    def result(self) -> Error:
        """Return the error over everything added so far."""
        if self._max_abs == 0.0:
            return Error(0.0, 0.0, math.inf, 1.0)
        relative = self._max_abs / self._max_reference if self._max_reference else math.inf
        # Without power, or with infinite noise, the ratio is 0, which has no logarithm.
        ratio = self._power / self._noise if self._noise else math.inf
        sqnr = 10 * math.log10(ratio) if ratio else -math.inf
        norms = math.sqrt(self._power * self._power_other)
        return Error(self._max_abs, relative, sqnr, self._dot / norms if norms else 0.0)


def compare(reference: Arrays, other: Arrays) -> Error:
    """Return the error of one sample's outputs against their reference.

    Raises UserError where an output is missing or its shape differs.
    """
    return compare_all([reference], [other])


def compare_all(references: Iterable[Arrays], others: Iterable[Arrays]) -> Error:
    """Return the error of the outputs of many samples, one after another, against their references.

    Raises UserError where an output is missing or its shape differs, ValueError where one side has more samples.
    """
    total = _ErrorSum()
    for reference, other in zip(references, others, strict=True):
        total.add(reference, other)
    return total.result()
