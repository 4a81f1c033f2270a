"""The noise of a model: what rounding alone does to its outputs, whoever computes them.

Two figures are taken, and the larger one counts: how far the outputs in float32 lie from those in float64, and how far
they move when every input moves by its last digit. An ill-conditioned model, such as one whose batch norms divide by
tiny variances, loses digits in any correct implementation; to ask more of an artifact would be to ask for luck.

A jump is no noise where inputs lie at it, as those of images and masks do at ``floor`` or a comparison: runtimes round
such inputs alike. So the conditioning is measured beside the inputs, and float32 is held against the nearest of the
values that float64 has at the inputs, a last digit above and a last digit below. Beside two inputs their quotient may
lie at its jump as before, so what moves an output there from one value to that at the inputs is left out where the
output moves as much at the inputs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from edgeopt.analysis.float64 import NotInFloat64, in_float64, sample_in_float64
from edgeopt.analysis.slices import Axis, Slices, slices_of
from edgeopt.errors import EdgeoptError
from edgeopt.ir.metrics import compare
from edgeopt.ir.program import Program
from edgeopt.records.outputs import OutputNoise

INPUT_CHANGE = 1e-7
"""Relative change of the inputs: about the last digit of float32."""
WIDEST = 8
"""Bytes of the widest floats. Inputs of that type keep their last digit: what it changes, float32 does not show."""
BESIDE = 1e-5
"""Relative distance from the inputs at which the effect of that change is measured: off any jump that they lie at."""
FEW = 16
"""Below so many values of a slice, what rounding makes of it may be small by chance."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Noise(OutputNoise):
    """The noise by output, and of its slices.

    ``slices``: by output and axis (see edgeopt.analysis.slices), the root mean square of what rounding makes.
    """

    slices: Mapping[str, Mapping[Axis, np.ndarray]] = field(default_factory=dict)


def noise_of(program: Program, samples: Sequence[Arrays]) -> Noise:
    """Return the noise of a program, by output the largest on one of the samples."""
    pairs, reason = _pairs(program, samples)
    largest, slices = {}, {}
    for name in (name for name, array in pairs[0][0].items() if array.dtype.kind == "f") if pairs else ():
        both = [(one[name], other[name]) for one, other in pairs]
        largest[name] = float(np.max([_relative(one, other) for one, other in both]))
        slices[name] = {axis: _of_slices(found) for axis, found in slices_of(*zip(*both, strict=True)).items()}
    return Noise({name: value for name, value in largest.items() if np.isfinite(value)}, reason, slices)


def _pairs(program: Program, samples: Sequence[Arrays]) -> tuple[list[tuple[Arrays, Arrays]], str | None]:
    """Return outputs that rounding alone sets apart, in pairs, and why none are in float64, where that is so."""
    try:
        double, reason = in_float64(program), None
    except NotInFloat64 as error:
        double, reason = None, str(error)
    pairs: list[tuple[Arrays, Arrays]] = []
    for sample in samples:
        if double is not None:
            try:
                pairs.append(_precisions(program, double, sample))
            except EdgeoptError as error:
                double, reason = None, f"the model does not run in float64 ({error.message})"
        # Inputs at the end of their domain may leave it.
        with suppress(EdgeoptError):
            narrow = [name for name, array in sample.items() if array.dtype.itemsize < WIDEST]
            pairs.append(_moving(double or program, sample if double is None else sample_in_float64(sample), narrow))
    return pairs, reason


def _precisions(program: Program, double: Program, sample: Arrays) -> tuple[Arrays, Arrays]:
    """Return the outputs as they are and in float64, of this by element the nearest: at, above or below the inputs."""
    outputs, wide = program.run(sample), sample_in_float64(sample)
    nearest = dict(double.run(wide))
    for change in (INPUT_CHANGE, -INPUT_CHANGE):
        with suppress(EdgeoptError):
            for name, other in double.run(_scaled(wide, change)).items():
                nearest[name] = _nearer(outputs[name], nearest[name], other)
    return outputs, nearest


def _nearer(value: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return by element of floats which of two is nearer to a value; ``one`` of arrays of other types or shapes."""
    if value.dtype.kind != "f" or not value.shape == one.shape == other.shape:
        return one
    with np.errstate(invalid="ignore"):  # infinities that are equal
        return np.where(np.abs(other - value) < np.abs(one - value), other, one)


def _scaled(sample: Arrays, change: float) -> dict[str, np.ndarray]:
    return {name: array * (1 + change) if array.dtype.kind == "f" else array for name, array in sample.items()}


def _moving(program: Program, sample: Arrays, narrow: Collection[str]) -> tuple[Arrays, Arrays]:
    """Return the outputs beside the inputs, before and after all of ``narrow`` that are floats move by a last digit."""
    generator = np.random.default_rng(0)
    beside = _moved(sample, BESIDE, generator, narrow)
    before, after = program.run(beside), program.run(_moved(beside, INPUT_CHANGE, generator, narrow))
    if all(np.array_equal(before[name], after[name], equal_nan=True) for name in before):
        return before, after
    changes = (0.0, INPUT_CHANGE, -INPUT_CHANGE)
    at, up, down = (program.run(_moved(sample, change, np.random.default_rng(1), narrow)) for change in changes)
    return before, {name: _off_jumps(before[name], after[name], at[name], (up[name], down[name])) for name in before}


def _off_jumps(before: np.ndarray, after: np.ndarray, at: np.ndarray, moved: Sequence[np.ndarray]) -> np.ndarray:
    """Return ``after``, and ``before`` where what sets them apart is a jump at which the inputs lie.

    There an output beside the inputs is that ``at`` the inputs, and moves from it by as much if these move.
    """
    shapes = {array.shape for array in (before, after, at, *moved)}
    if before.dtype.kind != "f" or len(shapes) > 1:
        return after
    with np.errstate(invalid="ignore"):  # infinities that are equal
        half = np.abs(after - before) / 2
        stays = np.minimum(np.abs(before - at), np.abs(after - at)) < half
        jumps = np.maximum(*(np.abs(array - at) for array in moved)) > half
    return np.where(stays & jumps, before, after)


def _moved(
    sample: Arrays, change: float, generator: np.random.Generator, names: Collection[str]
) -> dict[str, np.ndarray]:
    """Return the inputs with every float of ``names`` moved up or down, at random, by about a share of itself."""
    return {name: _moved_array(array, change, generator) if name in names else array for name, array in sample.items()}


def _moved_array(array: np.ndarray, change: float, generator: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    signs = generator.choice([-1.0, 1.0], array.shape)
    factor = 1 + change * signs * generator.uniform(0.5, 1.5, array.shape)
    return (array * factor).astype(array.dtype)


def _of_slices(found: Slices) -> np.ndarray:
    """Return the noise of slices; it is at least that of the output where a slice has too few values to tell."""
    return found.error if found.count >= FEW else np.maximum(found.error, np.sqrt(np.mean(found.error**2)))


def _relative(expected: np.ndarray, other: np.ndarray) -> float:
    return compare({"": expected}, {"": other}).relative
