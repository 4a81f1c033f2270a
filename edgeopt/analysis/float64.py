"""A program in double precision: the same graph, every floating-point type in it float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from edgeopt.ir.program import Program
from edgeopt.ir.wider_floats import NotWidened, widened

_NARROWER = (torch.float16, torch.bfloat16, torch.float32)


NotInFloat64 = NotWidened


def in_float64(program: Program) -> Program:
    """Return a copy whose constants, inputs and operators are in float64.

    Raises NotInFloat64 where an operator does not take float64, or returns another type nevertheless.
    """
    return widened(program, _NARROWER, torch.float64)


def sample_in_float64(sample: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return arrays with floats in float64, the others as they are."""
    return {name: array.astype(np.float64) if array.dtype.kind == "f" else array for name, array in sample.items()}
