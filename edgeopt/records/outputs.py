"""How far outputs lie from the original's, as data, and what rounding alone does to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import model_validator

from edgeopt.records.form import Extended, Record

Form = Literal["number", "index", "decision", "exact"]


@dataclass(frozen=True)
class Error(Record):
    """Distance of outputs from the original's over all verification inputs: each figure of the output in which it is
    worst, or of one output."""

    max_abs: Extended
    """Largest absolute difference; null where one is infinite: NaN or infinity where the original has none, or the
    other way round."""
    relative: Extended
    """`max_abs` over the largest absolute reference value; null where it is infinite (as above, or that value is 0)."""
    sqnr_db: Extended
    """Reference power over error power in dB; null where the outputs are equal (infinite), or without a number."""
    cosine: Extended
    """Cosine of the angle between outputs and reference, 1 where they are equal; null where there is none."""

    @model_validator(mode="before")
    @classmethod
    def _restore(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        is_equal = data.get("max_abs") == 0
        missing = {"sqnr_db": math.inf if is_equal else -math.inf, "cosine": math.nan}
        return {key: missing.get(key, math.inf) if value is None else value for key, value in data.items()}


EQUAL = Error(0.0, 0.0, math.inf, 1.0)
NOT_FINITE = Error(math.inf, math.inf, -math.inf, math.nan)
"""The error of an output that is NaN or infinite where the reference is not, or the other way round: no limit holds."""


@dataclass(frozen=True)
class OutputComparison(Record):
    """One output of the artifact against the original's."""

    name: str
    """The output."""
    form: Form
    """What it holds: floats; places of values (top-k, argmax, sort); other integers or booleans that floats decided;
    integers or booleans that no float took part in."""
    error: Error | None
    """Its error over all verification inputs; of an index that of the values it points at; null: not compared."""
    elements: int
    """Number of elements over all verification inputs."""
    differing: int = 0
    """How many of them are not equal."""
    not_finite: int = 0
    """How many are NaN or infinite where the original is not, or the other way round."""
    reason: str | None = None
    """Why it was not compared."""


@dataclass(frozen=True)
class OutputNoise(Record):
    """What rounding alone does to the original's outputs, whoever computes them."""

    outputs: Mapping[str, float]
    """By output, the largest difference that rounding makes over the largest absolute value; outputs for which that is
    not finite are left out."""
    reason: str | None = None
    """Why the original was not also run in float64; null where it was."""

    @property
    def largest(self) -> float:
        """The noise of the noisiest output; 0 where there is none."""
        return max(self.outputs.values(), default=0.0)
