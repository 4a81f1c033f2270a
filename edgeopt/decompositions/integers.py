"""Integers where ONNX has an operator for floats only.

ceil(a), floor(a), trunc(a), round(a)  =>  a
-a                                     =>  uint8((256 - int32(a)) & 255)     of uint8, whose sign ONNX does not turn
relu(a)                                =>  clamp(a, 0)
isfinite(a)                            =>  true
"""

from __future__ import annotations

import torch

from edgeopt.analysis.integer_rules import INTEGERS
from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _is_integer(given: Arguments) -> bool:
    return given["self"].dtype in INTEGERS


@decomposes(
    *(aten.ceil.default, aten.floor.default, aten.trunc.default, aten.round.default),
    where=_is_integer,
)
def rounded(x: torch.Tensor) -> torch.Tensor:
    """Return integers as they are."""
    return x.clone()


@decomposes(aten.neg.default, where=lambda given: given["self"].dtype == torch.uint8)
def negated(x: torch.Tensor) -> torch.Tensor:
    """Return what is missing of ``x`` [...] to the next multiple of 256."""
    return torch.bitwise_and(256 - x.to(torch.int32), 255).to(torch.uint8)


@decomposes(aten.relu.default, where=_is_integer)
def relu(x: torch.Tensor) -> torch.Tensor:
    """Return integers, and 0 for negative ones."""
    return x.clamp(min=0)


@decomposes(aten.isfinite.default, where=_is_integer)
def isfinite(x: torch.Tensor) -> torch.Tensor:
    """Return true for every integer."""
    return torch.ones_like(x, dtype=torch.bool)
