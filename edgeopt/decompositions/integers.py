"""Integers that are rounded: exporters write what ONNX has for floats only.

ceil(a), floor(a), trunc(a), round(a)  =>  a
-a  =>  uint8((256 - int32(a)) & 255)     of uint8, whose sign ONNX does not turn
"""

from __future__ import annotations

import torch

from edgeopt.analysis.integer_rules import INTEGERS
from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(
    *(aten.ceil.default, aten.floor.default, aten.trunc.default, aten.round.default),
    where=lambda given: given["self"].dtype in INTEGERS,
)
def rounded(x: torch.Tensor) -> torch.Tensor:
    """Return integers as they are."""
    return x.clone()


@decomposes(aten.neg.default, where=lambda given: given["self"].dtype == torch.uint8)
def negated(x: torch.Tensor) -> torch.Tensor:
    """Return what is missing of ``x`` [...] to the next multiple of 256."""
    return torch.bitwise_and(256 - x.to(torch.int32), 255).to(torch.uint8)
