"""Verification inputs of a calibrated program: of the calibration samples, those that differ in kind."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from itertools import islice

import numpy as np

from edgeopt.ir.metrics import Sample

LOOKED_AT = 64
"""Calibration samples among which is chosen."""


def varied(data: Iterable[Sample], count: int) -> tuple[Sample, ...]:
    """Return ``count`` of the first samples: the first, those of other shapes or masks than before, then the next.

    Invented inputs would leave the ranges that were calibrated: they say nothing of a quantized program.
    """
    samples = list(islice(data, max(LOOKED_AT, count)))
    kinds: dict[Hashable, int] = {}
    for index, sample in enumerate(samples):
        kinds.setdefault(_kind(sample), index)
    others = (index for index in range(len(samples)) if index not in kinds.values())
    chosen = [*kinds.values(), *others][:count]
    return tuple(samples[index] for index in sorted(chosen))


def _kind(sample: Sample) -> Hashable:
    """Return the shapes, and of what may be a mask whether all, some or no values are set."""
    return tuple((name, array.shape, _set(array)) for name, array in sorted(sample.items()))


def _set(array: np.ndarray) -> tuple[bool, bool] | None:
    is_mask = array.dtype.kind == "b" or (array.dtype.kind in "iu" and bool(np.isin(array, (0, 1)).all()))
    return (bool(array.all()), bool(array.any())) if is_mask else None
