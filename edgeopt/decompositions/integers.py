"""Division of integers towards zero, in integers: exporters divide in float32, which holds them up to 2^24 only.

div(a, b, rounding_mode="trunc")  =>  (a - fmod(a, b)) // b
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.analysis.integer_rules import INTEGERS
from edgeopt.decompositions.writing_out import Arguments, decomposes

aten = torch.ops.aten


def _is_of_integers(given: Arguments) -> bool:
    operands = (given["self"], given["other"])
    integers = [v.dtype in INTEGERS if isinstance(v, torch.Tensor) else isinstance(v, int) for v in operands]
    return given["rounding_mode"] == "trunc" and all(integers)


@decomposes(aten.div.Tensor_mode, aten.div.Scalar_mode, where=_is_of_integers)
def divide(dividend: torch.Tensor, divisor: Any, rounding_mode: str) -> torch.Tensor:
    """Return the quotient of [...] integers without what follows the point."""
    return torch.floor_divide(dividend - torch.fmod(dividend, divisor), divisor)
