"""Evenly spaced numbers between bounds that are computed: exporters know those between numbers.

linspace(a, b, n)  =>  a + i * step in the first half, b - (n - 1 - i) * step in the second; of integers in float64

Source: torch, aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.decompositions.writing_out import decomposes
from edgeopt.ir.nodes import aten


@decomposes(aten.linspace.Tensor_Tensor, aten.linspace.Tensor_Scalar, aten.linspace.Scalar_Tensor)
def linspace(start: Any, end: Any, steps: int, dtype: torch.dtype | None, *_: object) -> torch.Tensor:
    """Return ``steps`` numbers from ``start`` [] to ``end`` []."""
    kind = dtype or torch.get_default_dtype()
    wide = kind if kind.is_floating_point else torch.float64
    # What is cut off before it is spread is cut off by torch, too.
    first, last = (_tensor(bound).to(kind).to(wide).reshape(1) for bound in (start, end))
    if steps < 2:
        return first.to(kind).expand(steps).clone()
    step, place = (last - first) / (steps - 1), torch.arange(steps, dtype=wide)
    return torch.where(place < steps // 2, first + step * place, last - step * (steps - 1 - place)).to(kind)


def _tensor(bound: Any) -> torch.Tensor:
    if isinstance(bound, torch.Tensor):
        return bound
    return torch.full((), bound, dtype=torch.float64 if isinstance(bound, float) else torch.int64)
