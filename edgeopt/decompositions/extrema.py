"""Largest and smallest values: ONNX has none along the axis of a tensor without axes, and not both at once.

max(x, 0), min(x, 0)    =>  x, 0          of a tensor without axes
aminmax(x)              =>  amin(x), amax(x)
"""

from __future__ import annotations

import torch

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _is_number(given: Arguments) -> bool:
    return bool(given["self"].dim() == 0)


@decomposes(aten.max.dim, aten.min.dim, where=_is_number)
def extremum(x: torch.Tensor, _dim: int, _keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the one value of ``x`` [] and its place []."""
    return x.clone(), torch.zeros((), dtype=torch.int64)


@decomposes(aten.aminmax.default)
def extrema(x: torch.Tensor, dim: int | None, keepdim: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the smallest and the largest values of ``x`` [...]."""
    if x.dim() == 0:
        return x.clone(), x.clone()
    dims = list(range(x.dim())) if dim is None else [dim]
    return x.amin(dims, keepdim), x.amax(dims, keepdim)
