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
from edgeopt.candidate.limits import FLOORS, TIMES_NOISE, Checked, Floor
from edgeopt.compare import Arrays, Reference

STEPS = {True: 1, False: 4}
"""Roundings of the output's largest value that are always granted: of floating-point numbers, and of other formats."""


@dataclass(frozen=True)
class _Slice:
    """A channel or sample: root mean squares of its values, of its error, and of the error that it may have."""

    name: str
    label: str
    values: float
    error: float
    allowed: float

    def checked(self) -> Checked:
        """Return this as a default limit on the SQNR; of values below what is allowed, on that of ``allowed``."""
        least, got = (_decibels(max(self.values, self.allowed), error) for error in (self.allowed, self.error))
        return Checked(self.name, "least", "dB", least, got, self.is_ok, is_default=True, output=self.label)

    @property
    def is_ok(self) -> bool:
        return self.error <= self.allowed

    @property
    def excess(self) -> float:
        """How many times the error that it may have it has."""
        return self.error / self.allowed if self.error else 0.0


def check_slices(reference: Reference, outputs: Sequence[Arrays], floor: Floor, noise: Noise) -> tuple[Checked, ...]:
    """Hold each channel and each sample against the floor; return the worst channel and the worst sample.

    ``outputs``: the artifact's, by sample. Samples are judged alone in floating-point formats only: steps of integers
    are set by the largest sample.
    """
    found = list(_slices(reference, outputs, floor, noise))
    kinds = [[one for one in found if one.name == name] for name in ("default-channel", "default-sample")]
    return tuple(max(one, key=lambda slice_: slice_.excess).checked() for one in kinds if one)


def _slices(reference: Reference, outputs: Sequence[Arrays], floor: Floor, noise: Noise) -> Iterator[_Slice]:
    for name, first in reference.outputs[0].items():
        if first.dtype.kind != "f" or name in reference.not_compared:
            continue
        expected, got = ([one[name] for one in side] for side in (reference.outputs, outputs))
        granted = STEPS[floor.is_rounding] * 2.0**-floor.bits * _largest(expected)
        for axis, found in slices_of(expected, got).items():
            if axis is None and not floor.is_rounding:
                continue
            rounded = _rounding_of(noise, name, axis, found.values) * 2.0 ** (FLOORS["fp32"].bits - floor.bits)
            share = 10 ** (-floor.slice_db / 20) * found.values
            allowed = np.sqrt(share**2 + (TIMES_NOISE * rounded) ** 2 + granted**2)
            for index, figures in enumerate(zip(found.values, found.error, allowed, strict=True)):
                yield _Slice(*_named(name, axis, first.ndim, index), *map(float, figures))


def _rounding_of(noise: Noise, name: str, axis: Axis, values: np.ndarray) -> np.ndarray:
    """Return what rounding in float32 does to each slice; of samples it is known by its share of the values."""
    if axis is None:
        return noise.outputs.get(name, 0.0) * values
    return noise.slices.get(name, {}).get(axis, np.zeros_like(values))


def _named(name: str, axis: Axis, dimensions: int, index: int) -> tuple[str, str]:
    """Return the limit that is for a slice, and how the slice is written."""
    if axis is None:
        return "default-sample", f"{name} of verification input {index}"
    places = [":"] * dimensions
    places[axis] = str(index)
    return "default-channel", f"{name}[{', '.join(places)}]"


def _largest(arrays: Sequence[np.ndarray]) -> float:
    return max(float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) for array in arrays)


def _decibels(value: float, error: float) -> float:
    return 20 * math.log10(value / error) if error else math.inf
