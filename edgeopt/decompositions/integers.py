"""Integers that are rounded: exporters write what ONNX has for floats only.

ceil(a), floor(a), trunc(a), round(a)  =>  a
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
