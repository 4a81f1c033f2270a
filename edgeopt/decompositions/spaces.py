"""Evenly spaced numbers between bounds that are computed: exporters know those between numbers.

linspace(a, b, n)  =>  a + i * step in the first half, b - (n - 1 - i) * step in the second

Source: torch, aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp.
"""

from __future__ import annotations

from typing import Any

import torch

from edgeopt.decompositions.writing_out import Arguments, decomposes
from edgeopt.ir.nodes import aten


def _is_float(given: Arguments) -> bool:
    return (given["dtype"] or torch.get_default_dtype()).is_floating_point


@decomposes(aten.linspace.Tensor_Tensor, aten.linspace.Tensor_Scalar, aten.linspace.Scalar_Tensor, where=_is_float)
def linspace(start: Any, end: Any, steps: int, dtype: torch.dtype | None, *_: object) -> torch.Tensor:
    """Return ``steps`` numbers from ``start`` [] to ``end`` []."""
    kind = dtype or torch.get_default_dtype()
    first, last = (torch.as_tensor(bound).to(kind).reshape(1) for bound in (start, end))
    if steps < 2:
        return first.expand(steps).clone()
    step, place = (last - first) / (steps - 1), torch.arange(steps, dtype=kind)
    return torch.where(place < steps // 2, first + step * place, last - step * (steps - 1 - place))
