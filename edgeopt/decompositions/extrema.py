"""Largest and smallest values of a tensor without axes: ONNX has no place along an axis that is not there.

max(x, 0), min(x, 0)  =>  x, 0
"""

from __future__ import annotations

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten.max.dim, aten.min.dim, where=lambda given: given["self"].dim() == 0)
def extremum(x: torch.Tensor, _dim: int, _keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the one value of ``x`` [] and its place []."""
    return x.clone(), torch.zeros((), dtype=torch.int64)
