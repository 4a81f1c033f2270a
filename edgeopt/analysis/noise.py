"""The noise of a model: what rounding alone does to its outputs, whoever computes them.

Two figures are taken, and the larger one counts: how far the outputs in float32 lie from those in float64, and how far
they move when every input moves by its last digit. An ill-conditioned model, such as one whose batch norms divide by
tiny variances, loses digits in any correct implementation; to ask more of an artifact would be to ask for luck.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from edgeopt.analysis.float64 import NotInFloat64, in_float64, sample_in_float64
from edgeopt.compare import compare
from edgeopt.errors import EdgeoptError
from edgeopt.program import Program

INPUT_CHANGE = 1e-7
"""Relative change of the inputs: about the last digit of float32."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Noise:
    """By output with floating-point values, the largest difference that rounding makes over its largest value.

    ``reason``: why there is no comparison with float64, None where there is one. An output whose noise is not finite,
    for its values are not or are all zero, is left out.
    """

    outputs: Mapping[str, float]
    reason: str | None = None

    @property
    def largest(self) -> float:
        """The noise of the noisiest output; 0 where there is none."""
        return max(self.outputs.values(), default=0.0)


def noise_of(program: Program, samples: Sequence[Arrays]) -> Noise:
    """Return the noise of a program, by output the largest on one of the samples."""
    try:
        double, reason = in_float64(program), None
    except NotInFloat64 as error:
        double, reason = None, str(error)
    found: dict[str, list[float]] = {}
    for sample in samples:
        others: list[Arrays] = []
        # Inputs at the end of their domain may leave it.
        with suppress(EdgeoptError):
            others.append(program.run(_moved(sample)))
        if double is not None:
            try:
                others.append(double.run(sample_in_float64(sample)))
            except EdgeoptError as error:
                double, reason = None, f"the model does not run in float64 ({error.message})"
        for name, array in program.run(sample).items():
            if array.dtype.kind == "f":
                found.setdefault(name, []).extend(_relative(array, other[name]) for other in others)
    noise = {name: float(np.max(values)) for name, values in found.items() if values}
    return Noise({name: value for name, value in noise.items() if np.isfinite(value)}, reason)


def _moved(sample: Arrays) -> dict[str, np.ndarray]:
    """Return the inputs with every float moved up or down by a last digit, at random."""
    generator = np.random.default_rng(0)
    return {name: _moved_array(array, generator) for name, array in sample.items()}


def _moved_array(array: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    if array.dtype.kind != "f":
        return array
    factor = 1 + INPUT_CHANGE * generator.choice([-1.0, 1.0], array.shape)
    return (array * factor).astype(array.dtype)


def _relative(expected: np.ndarray, other: np.ndarray) -> float:
    return compare({"": expected}, {"": other}).relative
