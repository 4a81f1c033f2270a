"""The slices of an output, each with the size of its values and that of its error: its channels, and the samples.

Channels lie along the first, the second or the last axis, by the layout; an axis of one place, or whose size changes
from sample to sample, holds none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

Axis = int | None
"""None stands for the samples."""


@dataclass(frozen=True)
class Slices:
    """Root mean squares along an axis, an entry for each place: of the values, and of their error.

    ``count``: how many values the samples have at a place.
    """

    values: np.ndarray
    error: np.ndarray
    count: int


def slices_of(expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> Mapping[Axis, Slices]:
    """Return by axis the slices of an output; ``expected`` and ``got`` have one array of a shape for each sample.

    What is not finite on either side counts nothing; where there are no values there are no slices.
    """
    if not all(array.size for array in expected):
        return {}
    squares = [_squares(one, other) for one, other in zip(expected, got, strict=True)]
    found: dict[Axis, np.ndarray] = {None: np.stack([pair.reshape(2, -1).mean(1) for pair in squares], 1)}
    for axis in _axes([array.shape for array in expected]):
        others = tuple(other for other in range(1, squares[0].ndim) if other != axis + 1)
        found[axis] = np.mean([pair.mean(others) for pair in squares], 0)
    total = sum(array.size for array in expected)
    return {
        axis: Slices(np.sqrt(values), np.sqrt(error), total // values.size) for axis, (values, error) in found.items()
    }


def _squares(expected: np.ndarray, got: np.ndarray) -> np.ndarray:
    """Return the squares of the values and of their error, stacked."""
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    values, others = expected.astype(wide), got.astype(wide)
    is_finite = np.isfinite(values) & np.isfinite(others)
    values, others = np.where(is_finite, values, 0), np.where(is_finite, others, 0)
    return np.stack([np.abs(values), np.abs(values - others)]) ** 2


def _axes(shapes: Sequence[tuple[int, ...]]) -> list[int]:
    dimensions = len(shapes[0])
    likely = sorted({0, 1, dimensions - 1} & set(range(dimensions)))
    return [axis for axis in likely if len({shape[axis] for shape in shapes}) == 1 and shapes[0][axis] > 1]
