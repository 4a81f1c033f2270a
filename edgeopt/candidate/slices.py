"""Channels and samples judged alone: within one output a large one hides no small one that is wrong.

What a format can hold beside the largest value of the output bounds what can be asked of a small channel, and so does
the noise of the model, for a channel may be small because large values cancel in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from edgeopt.analysis.noise import Noise
from edgeopt.analysis.slices import Axis, slices_of
from edgeopt.candidate.limits import FLOORS, TIMES_NOISE, Floor
from edgeopt.ir.metrics import Arrays, Reference
from edgeopt.records.limits import Limit

STEPS = {True: 1, False: 4}
"""Roundings of the output's largest value that are always granted: of floating-point numbers, and of other formats."""
LOST = 0.5
"""Share of a channel's values from which an error leaves nothing of it."""


@dataclass(frozen=True)
class _Judged:
    """The slices of an output along an axis, an entry for each: root mean squares, and the error that each may have.

    ``step``: that of the format at the output's largest value.
    """

    output: str
    axis: Axis
    dimensions: int
    values: np.ndarray
    error: np.ndarray
    allowed: np.ndarray
    step: float

    @property
    def excess(self) -> np.ndarray:
        """How many times the error that it may have each slice has."""
        none = np.zeros_like(self.error)
        excess: np.ndarray = np.divide(self.error, self.allowed, out=none, where=self.error > 0)
        return excess

    def worst(self) -> Limit:
        """Return the worst slice as a default limit on the SQNR; of values below what is allowed, on that of these."""
        index = int(self.excess.argmax())
        error, allowed = float(self.error[index]), float(self.allowed[index])
        size = max(float(self.values[index]), allowed)
        name = "default-sample" if self.axis is None else "default-channel"
        limit = Limit(name, "least", "dB", _decibels(size, allowed), is_default=True, output=self.named(index))
        return limit.judged(_decibels(size, error), error <= allowed)

    def named(self, index: int) -> str:
        """Return how a slice is written."""
        if self.axis is None:
            return f"{self.output} of verification input {index}"
        places = [":"] * self.dimensions
        places[self.axis] = str(index)
        return f"{self.output}[{', '.join(places)}]"

    def lost(self) -> np.ndarray:
        """Return the places of those of which nothing is left, though that is all that the format grants."""
        return np.flatnonzero((self.error > LOST * self.values) & (self.error <= self.allowed) & (self.values > 0))


def check_slices(reference: Reference, outputs: Sequence[Arrays], floor: Floor, noise: Noise) -> tuple[Limit, ...]:
    """Hold each channel and each sample against the floor; return the worst channel and the worst sample.

    ``outputs``: the artifact's, by sample. Samples are judged alone in floating-point formats only: steps of integers
    are set by the largest sample.
    """
    judged = list(_judged(reference, outputs, floor, noise))
    kinds = ([one for one in judged if one.axis is not None], [one for one in judged if one.axis is None])
    return tuple(max(kind, key=lambda one: one.excess.max()).worst() for kind in kinds if kind)


def lost_channels(reference: Reference, outputs: Sequence[Arrays], floor: Floor) -> tuple[str, ...]:
    """Return in words which channels of the artifact hold nothing, being too small beside others for the format."""
    if floor.is_rounding or not floor.bits:
        return ()
    found = [(one, one.lost()) for one in _judged(reference, outputs, floor, Noise({})) if one.axis]
    return tuple(
        f"nothing is left of {one.named(lost[0])}{f' and {len(lost) - 1} more' if len(lost) > 1 else ''}: beside the "
        f"largest value of the output its format has steps of {one.step:.2g}; return large and small channels apart, "
        "so that each has a scale of its own, or keep the layers before them in float with --keep-float"
        for one, lost in found
        if lost.size
    )


def _judged(reference: Reference, outputs: Sequence[Arrays], floor: Floor, noise: Noise) -> Iterator[_Judged]:
    for name, first in reference.outputs[0].items():
        if first.dtype.kind != "f" or name in reference.not_compared:
            continue
        expected, got = ([one[name] for one in side] for side in (reference.outputs, outputs))
        largest = _largest(expected)
        if not largest:
            continue  # zero everywhere: no channel is small beside another, and the error of the whole output is judged
        step = 2.0**-floor.bits * largest
        for axis, found in slices_of(expected, got).items():
            if axis is None and not floor.is_rounding:
                continue
            rounded = _rounding_of(noise, name, axis, found.values) * 2.0 ** (FLOORS["fp32"].bits - floor.bits)
            share = 10 ** (-floor.slice_db / 20) * found.values
            allowed = np.sqrt(share**2 + (TIMES_NOISE * rounded) ** 2 + (STEPS[floor.is_rounding] * step) ** 2)
            yield _Judged(name, axis, first.ndim, found.values, found.error, allowed, step)


def _rounding_of(noise: Noise, name: str, axis: Axis, values: np.ndarray) -> np.ndarray:
    """Return what rounding in float32 does to each slice; of samples it is known by its share of the values."""
    if axis is None:
        return noise.outputs.get(name, 0.0) * values
    return noise.slices.get(name, {}).get(axis, np.zeros_like(values))


def _largest(arrays: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in arrays)


def _decibels(value: float, error: float) -> float:
    return 20 * math.log10(value / error) if error else math.inf
